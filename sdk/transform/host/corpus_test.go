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

	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest/hostile"
	"golang.org/x/sys/unix"
)

// Each attack ends in its class, in good time; the host's memory, its
// processes and the files around stay what they were.
func TestCorpus(t *testing.T) {
	outside := t.TempDir()
	t.Chdir(outside)
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the largest resident memory is now that of now
	before := resident("/proc/self")
	for name, attack := range hostile.Corpus(t) {
		t.Run(name, func(t *testing.T) {
			if !compiles && strings.HasPrefix(name, "compiler") {
				t.Skip("the engine has no compiler for this processor")
			}
			module := filepath.Join(t.TempDir(), "hostile.wasm")
			must(t, os.WriteFile(module, attack.Module, 0o600))
			ceiling := Limits{Compile: attack.Compile, CPU: attack.CPU, Wall: attack.Wall}
			_, _, err := runOne(t, &Host{Cache: cache, Ceiling: ceiling}, Step{Module: module, Format: attack.Format}, "state")
			e := failed(t, err)
			if string(e.Class) != attack.Class || !strings.Contains(e.Reason, attack.Reason) || strings.Contains(e.Error(), "\n") || len(e.Error()) > 1000 {
				t.Errorf("got %v, want %s: …%s…", e, attack.Class, attack.Reason)
			}
		})
	}
	if used := resident("/proc/self") - before; !raced && used > 64<<20 {
		t.Errorf("the host took %d MB for it", used>>20)
	}
	poll(t, "the sandboxes to end", func() bool { return len(sandboxes(t, os.Getpid())) == 0 })
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("there are files now: %v, %v", entries, err)
	}
}

// The static check costs little for whatever it is given.
func TestCheckIsCheap(t *testing.T) {
	fill := func(id byte, element []byte, most uint64) []byte {
		n := min(uint64((maxModule-100)/len(element)), most)
		return slices.Concat(magic, longSection(id, leb(n), bytes.Repeat(element, int(n))))
	}
	types := section(sectionType, []byte{1, 0x60, 0, 0})
	name := append(leb(15<<20), bytes.Repeat([]byte{0xff}, 15<<20)...)
	inputs := map[string][]byte{
		"a module":  slices.Concat(magic, types, longSection(sectionImport, []byte{1}, name, text("x"), []byte{0, 0})),
		"a name":    slices.Concat(magic, types, longSection(sectionImport, []byte{1}, text(wasiModule), name, []byte{0, 0})),
		"zeros":     append(slices.Clone(magic), make([]byte, maxModule-8)...),
		"types":     fill(sectionType, slices.Concat([]byte{0x60}, leb(900), bytes.Repeat([]byte{0x7f}, 900), leb(900), bytes.Repeat([]byte{0x7e}, 900)), maxTypes),
		"data":      fill(sectionData, []byte{1, 100, 99: 0, 101: 0}, maxDataSegments),
		"elements":  fill(sectionElement, append([]byte{1, 0}, append(leb(120), make([]byte, 120)...)...), maxElements),
		"exports":   fill(sectionExport, append(text(strings.Repeat("x", 100)), 0, 0), maxExports),
		"customs":   append(slices.Clone(magic), bytes.Repeat(longSection(sectionCustom, text("name"), []byte{1, 3, 1, 0, 0}), 900)...),
		"functions": repeated(maxFunctions, slices.Concat([]byte{0}, bytes.Repeat([]byte{0x01}, 200), []byte{0x0b})),
		"blocks":    repeated(60, slices.Concat([]byte{0}, bytes.Repeat([]byte{0x02, 0x40, 0x0b}, 80_000), []byte{0x0b})),
	}
	for name, attack := range hostile.Corpus(t) {
		inputs[name] = attack.Module
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
		err := Check(module)
		took := threadTime(t) - begin
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; took > limit || used > 50<<20 {
			t.Errorf("%s: the check of %d bytes took %v and %d bytes", name, len(module), took, used)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: the reason has %d bytes", name, len(err.Error()))
		}
	}
}

// repeated is a module with equal functions.
func repeated(n int, body []byte) []byte {
	return slices.Concat(magic,
		section(sectionType, []byte{1, 0x60, 0, 0}),
		longSection(sectionFunction, number(n), make([]byte, n)),
		longSection(sectionCode, number(n), bytes.Repeat(slices.Concat(number(len(body)), body), n)))
}

// threadTime is the CPU time that this thread has used.
func threadTime(t testing.TB) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}
