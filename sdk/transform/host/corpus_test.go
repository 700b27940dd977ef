package host

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A hostile module is generated, never stored.
type hostileModule struct {
	module []byte
	limits Limits
	class  Class // "" if it is allowed to do what it does
}

// long frames a section of any length.
func framed(id byte, content ...[]byte) []byte {
	all := slices.Concat(content...)
	return slices.Concat([]byte{id}, leb(uint64(len(all))), all)
}

// many is a module like those of assemble with one function for each body; the
// first is _start.
func many(bodies ...[]byte) []byte {
	functions, code := leb(uint64(len(bodies))), leb(uint64(len(bodies)))
	for _, b := range bodies {
		functions = append(functions, 0)
		code = append(append(code, leb(uint64(len(b)))...), b...)
	}
	return slices.Concat(magic,
		framed(sectionType, []byte{3, 0x60, 0, 0, 0x60, 1, 0x7f, 0, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f}),
		framed(sectionImport, []byte{2}, text(wasiModule), text("proc_exit"), []byte{0, 1}, text(wasiModule), text("fd_write"), []byte{0, 2}),
		framed(sectionFunction, functions),
		framed(sectionMemory, []byte{1, 0, 2}),
		framed(sectionExport, []byte{2}, text("memory"), []byte{2, 0}, text("_start"), []byte{0, 2}),
		framed(sectionCode, code))
}

// loops is a body of loops in each other that all use many locals.
func loops(depth, locals int) []byte {
	b := slices.Concat([]byte{1}, leb(uint64(locals)), []byte{0x7f}, bytes.Repeat([]byte{0x03, 0x40}, depth))
	for i := range locals {
		b = slices.Concat(b, []byte{0x20}, leb(uint64(i)), []byte{0x41, 1, 0x6a, 0x21}, leb(uint64((i+7)%locals)))
	}
	for range depth {
		b = append(b, 0x20, 0, 0x0d, 0, 0x0b)
	}
	return append(b, 0x0b)
}

// jumps is a body of one long jump table.
func jumps(targets int) []byte {
	return slices.Concat([]byte{0, 0x02, 0x40, 0x41, 0, 0x0e}, leb(uint64(targets)), make([]byte, targets+1), []byte{0x0b, 0x0b})
}

func repeat(n int, b []byte) [][]byte { return slices.Repeat([][]byte{b}, n) }

// corpus is what has no place in a transform, by what it attacks. Refusals by
// the static check of single features are in bombs and in the ABI's vectors.
func corpus(t testing.TB) map[string]hostileModule {
	wat := func(body string) []byte {
		return assembleText(t, `(module
			(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
			(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
			(memory (export "memory") 2)
			(func (export "_start") (local $i i32) `+body+`))`)
	}
	slow := Limits{Compile: 200 * time.Millisecond}
	ended := []byte{0, 0x0b}
	return map[string]hostileModule{
		"compile: loops":           {many(append(repeat(1, ended), repeat(400, loops(maxLoopDepth, 500))...)...), slow, Deadline},
		"compile: too many locals": {many(append(repeat(1, ended), repeat(500, loops(2, 1_500))...)...), slow, BadModule},
		"compile: jump tables":     {many(append(repeat(1, ended), repeat(20, jumps(maxTargets))...)...), Limits{Compile: time.Minute}, Invalid},
		"compile: many functions":  {many(append(repeat(1, ended), repeat(49_000, ended)...)...), Limits{Compile: time.Minute}, Invalid},
		"CPU":                      {wat("loop $l br $l end"), Limits{CPU: time.Second}, Deadline},
		"CPU in one instruction":   {wat("i32.const 2000 memory.grow drop loop $l i32.const 0 i32.const 7 i32.const 130000000 memory.fill br $l end"), Limits{Wall: 300 * time.Millisecond}, Deadline},
		"memory":                   {wat("loop $l i32.const 1 memory.grow i32.const -1 i32.ne br_if $l end i32.const 0 i32.const 1 i32.const 134217728 memory.fill"), Limits{}, Invalid},
		"memory at once":           {wat("i32.const 65535 memory.grow drop i32.const -4 i32.load drop"), Limits{}, Trap},
		"stack":                    {assemble(diving), Limits{}, StackOverflow},
		"output":                   {assemble(flooding), Limits{}, OutputLimit},
		"output in one call": {wat(`loop $l local.get $i i32.const 65536 i32.store local.get $i i32.const 65536 i32.store offset=4
			local.get $i i32.const 8 i32.add local.tee $i i32.const 65536 i32.lt_u br_if $l end
			i32.const 1 i32.const 0 i32.const 8192 i32.const 0 call $fd_write drop`), Limits{}, OutputLimit},
		"log": {wat(`loop $l i32.const 0 i32.const 0 i32.store i32.const 4 i32.const 65536 i32.store
			i32.const 2 i32.const 0 i32.const 1 i32.const 16 call $fd_write drop
			local.get $i i32.const 1 i32.add local.tee $i i32.const 4000 i32.lt_u br_if $l end`), Limits{}, Invalid},
		"files that are not there": {wat("i32.const 3 i32.const 0 i32.const 1 i32.const 16 call $fd_write i32.eqz if unreachable end"), Limits{}, Invalid},
		"the host's own file":      {wat("i32.const 5 i32.const 0 i32.const 1 i32.const 16 call $fd_write i32.eqz if unreachable end"), Limits{}, Invalid},
		"exit as if cancelled":     {wat("i32.const -1 call $proc_exit"), Limits{}, Exit},
		"exit as if late":          {wat("i32.const 0xefffffff call $proc_exit"), Limits{}, Exit},
		"exit as if it were well":  {wat("i32.const 0 call $proc_exit"), Limits{}, Invalid},
		"exit 256":                 {wat("i32.const 256 call $proc_exit"), Limits{}, Exit},
		"pointers out of memory":   {wat("i32.const 1 i32.const -8 i32.const 9 i32.const -1 call $fd_write drop"), Limits{}, Invalid},
	}
}

// Each attack ends in its class, in good time; the host's memory, its
// processes and the files around stay what they were.
func TestCorpus(t *testing.T) {
	outside := t.TempDir()
	t.Chdir(outside)
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the largest resident memory is now that of now
	before := resident()
	for name, h := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			if !compiles && strings.HasPrefix(name, "compile") {
				t.Skip("the engine has no compiler for this processor")
			}
			module := filepath.Join(t.TempDir(), "hostile.wasm")
			must(t, os.WriteFile(module, h.module, 0o600))
			_, _, err := runOne(t, &Host{Cache: cache, Ceiling: h.limits}, Step{Module: module}, "state")
			if e := failed(t, err); e.Class != h.class || strings.Contains(e.Error(), "\n") || len(e.Error()) > 1000 {
				t.Errorf("got %v, want %s", e, h.class)
			}
		})
	}
	if used := resident() - before; !raced && used > 64<<20 {
		t.Errorf("the host took %d MB for it", used>>20)
	}
	if left := sandboxes(t, os.Getpid()); len(left) > 0 {
		t.Errorf("sandboxes are left: %v", left)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("there are files now: %v, %v", entries, err)
	}
}

// The static check costs little for whatever it is given.
func TestCheckIsCheap(t *testing.T) {
	fill := func(id byte, element []byte, most uint64) []byte {
		n := min(uint64((maxModule-100)/len(element)), most)
		return slices.Concat(magic, framed(id, leb(n), bytes.Repeat(element, int(n))))
	}
	inputs := map[string][]byte{
		"zeros":     append(slices.Clone(magic), make([]byte, maxModule-8)...),
		"types":     fill(sectionType, slices.Concat([]byte{0x60}, leb(900), bytes.Repeat([]byte{0x7f}, 900), leb(900), bytes.Repeat([]byte{0x7e}, 900)), maxTypes),
		"data":      fill(sectionData, []byte{1, 100, 99: 0, 101: 0}, maxDataSegments),
		"elements":  fill(sectionElement, append([]byte{1, 0}, append(leb(120), make([]byte, 120)...)...), maxElements),
		"exports":   fill(sectionExport, append(text(strings.Repeat("x", 100)), 0, 0), maxExports),
		"customs":   append(slices.Clone(magic), bytes.Repeat(framed(sectionCustom, text("name"), []byte{1, 3, 1, 0, 0}), 900)...),
		"functions": many(repeat(maxFunctions, slices.Concat([]byte{0}, bytes.Repeat([]byte{0x01}, 200), []byte{0x0b}))...),
		"blocks":    many(repeat(60, slices.Concat([]byte{0}, bytes.Repeat([]byte{0x02, 0x40, 0x0b}, 80_000), []byte{0x0b}))...),
	}
	for name, h := range corpus(t) {
		inputs[name] = h.module
	}
	for name, module := range bombs() {
		inputs[name] = module
	}
	limit := time.Second
	if raced {
		limit = 20 * time.Second
	}
	runtime.LockOSThread() // whose CPU time counts: the machine may have other work
	defer runtime.UnlockOSThread()
	for name, module := range inputs {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := threadTime(t)
		Check(module)
		took := threadTime(t) - begin
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; took > limit || used > 50<<20 {
			t.Errorf("%s: the check of %d bytes took %v and %d bytes", name, len(module), took, used)
		}
	}
}

// threadTime is the CPU time that this thread has used.
func threadTime(t *testing.T) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}
