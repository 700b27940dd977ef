package host

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Code of modules, after assemble.
var (
	idle     = []byte{0x0b}                               // end
	trapping = []byte{0x00, 0x0b}                         // unreachable
	spinning = []byte{0x03, 0x40, 0x0c, 0x00, 0x0b, 0x0b} // loop br 0 end
	exiting3 = []byte{0x41, 0x03, 0x10, 0x00, 0x0b}       // proc_exit(3)
	diving   = []byte{0x10, 0x02, 0x0b}                   // call itself
	flooding = []byte{0x03, 0x40, 0x41, 1, 0x41, 0, 0x41, 1, 0x41, 16, 0x10, 0x01, 0x1a, 0x0c, 0, 0x0b, 0x0b}
	burning  = []byte{ // counts to 20 million in memory
		0x03, 0x40, 0x41, 0, 0x41, 0, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0, // store(0, load(0) + 1)
		0x41, 0, 0x28, 2, 0, 0x41, 0x80, 0xda, 0xc4, 0x9, 0x47, 0x0d, 0, 0x0b, 0x0b,
	}
	growing = []byte{0x03, 0x40, 0x41, 1, 0x40, 0, 0x41, 0x7f, 0x47, 0x0d, 0, 0x0b, 0x0b} // until memory.grow gives -1
)

// section frames a section; all of these are shorter than 128 bytes.
func section(id byte, content ...[]byte) []byte {
	all := slices.Concat(content...)
	return append([]byte{id, byte(len(all))}, all...)
}

func text(s string) []byte { return append([]byte{byte(len(s))}, s...) }

var magic = []byte("\x00asm\x01\x00\x00\x00")

// assemble makes a module that imports proc_exit (0) and fd_write (1), has a
// page of memory that starts with an iovec of that whole page, and exports
// the code as _start (2).
func assemble(code []byte) []byte {
	types := []byte{3, 0x60, 0, 0, 0x60, 1, 0x7f, 0, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f}
	return slices.Concat(magic,
		section(sectionType, types),
		section(sectionImport, []byte{2},
			text(wasiModule), text("proc_exit"), []byte{0, 1},
			text(wasiModule), text("fd_write"), []byte{0, 2}),
		section(sectionFunction, []byte{1, 0}),
		section(sectionMemory, []byte{1, 0, 1}),
		section(sectionExport, []byte{2}, text("memory"), []byte{2, 0}, text("_start"), []byte{0, 2}),
		section(sectionCode, []byte{1, byte(len(code) + 1), 0}, code),
		section(sectionData, []byte{1, 0, 0x41, 0, 0x0b, 8, 0, 0, 0, 0, 0, 0, 1, 0}))
}

func assembled(t *testing.T, code []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hostile.wasm")
	if err := os.WriteFile(path, assemble(code), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHostileCode(t *testing.T) {
	for name, test := range map[string]struct {
		code   []byte
		limits Limits
		class  Class
		reason string
	}{
		"traps":          {trapping, Limits{}, Trap, "unreachable"},
		"exits":          {exiting3, Limits{}, Exit, ""},
		"recurses":       {diving, Limits{}, StackOverflow, ""},
		"loops":          {spinning, Limits{Wall: 300 * time.Millisecond}, Deadline, "more than 300ms"},
		"burns CPU":      {spinning, Limits{CPU: time.Second}, Deadline, "CPU time"},
		"floods":         {flooding, Limits{Output: 1 << 20}, OutputLimit, "more than 1048576 bytes"},
		"ignores input":  {idle, Limits{}, Invalid, "left 2 of 2 bytes"},
		"no such memory": {idle, Limits{Memory: 1}, BadModule, "it begins with 0.0625 MiB of memory, more than the limit of"},
		"short of CPU":   {burning, Limits{CPU: time.Millisecond}, Deadline, "more than 1ms of CPU time"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &Host{Cache: cache, Ceiling: test.limits}
			_, _, err := runOne(t, h, Step{Module: assembled(t, test.code)}, "{}")
			e := failed(t, err)
			if e.Class != test.class || !strings.Contains(e.Reason, test.reason) {
				t.Errorf("got %#v", e)
			}
			if test.class == Exit && e.Code != 3 {
				t.Errorf("exit code is %d", e.Code)
			}
		})
	}
}

// A step may be content with less than the ceiling, and gets no more.
func TestMemoryIsBounded(t *testing.T) {
	h := &Host{Cache: cache, Ceiling: Limits{Memory: 8 << 20}}
	for declared, want := range map[int64]int64{0: 8 << 20, 2 << 20: 2 << 20, 64 << 20: 8 << 20} {
		_, report, err := runOne(t, h, Step{Module: assembled(t, growing), Limits: Limits{Memory: declared}}, "")
		if err != nil {
			t.Fatal(err)
		}
		if report.Memory != want {
			t.Errorf("memory grew to %d bytes, with %d declared", report.Memory, declared)
		}
	}
}

// A limit of the step is told as such, whatever the device would grant.
func TestLimitsOfAStep(t *testing.T) {
	for want, limits := range map[string]Limits{
		"more than 200ms of CPU time": {CPU: 200 * time.Millisecond},
		"more than 100ms":             {Wall: 100 * time.Millisecond, CPU: time.Hour},
	} {
		_, _, err := runOne(t, &Host{Cache: cache}, Step{Module: assembled(t, spinning), Limits: limits}, "{}")
		if e := failed(t, err); e.Class != Deadline || e.Reason != want {
			t.Errorf("got %v, want %s", e, want)
		}
	}
	_, _, err := runOne(t, &Host{Cache: cache}, Step{Module: assembled(t, flooding), Limits: Limits{Output: 1 << 20}}, "{}")
	if e := failed(t, err); e.Class != OutputLimit || e.Reason != "more than 1048576 bytes" {
		t.Errorf("got %v", e)
	}
}

// A module that ends for want of memory is told as such, however it ends, with
// who can give it more; or it is added to its own words, or to what it declares.
func TestOutOfMemory(t *testing.T) {
	for name, test := range map[string]struct {
		end     []byte
		ceiling int64
		step    int64
		class   Class
		want    string
	}{
		"refuses":  {[]byte{0x41, 0x02, 0x10, 0x00, 0x0b}, 0, 2 << 20, Refused, "(it was refused memory)"},
		"traps":    {trapping, 0, 2 << 20, ResourceLimit, "out of memory: the limit is 2 MiB, raise memory in the limits of the transform"},
		"exits":    {exiting3, 0, 2 << 20, ResourceLimit, "out of memory: the limit is 2 MiB, raise memory in the limits of the transform"},
		"a device": {trapping, 3 << 20, 4 << 20, ResourceLimit, "out of memory: the limit is 3 MiB, grant transforms more"},
	} {
		t.Run(name, func(t *testing.T) {
			step := Step{Module: assembled(t, slices.Concat(growing[:len(growing)-1], test.end)), Limits: Limits{Memory: test.step}}
			_, _, err := runOne(t, &Host{Cache: cache, Ceiling: Limits{Memory: test.ceiling}}, step, "")
			if e := failed(t, err); e.Class != test.class || e.Reason != test.want {
				t.Errorf("got %v", e)
			}
		})
	}
	declared := bytes.Replace(assemble(slices.Concat(growing[:len(growing)-1], trapping)), section(sectionMemory, []byte{1, 0, 1}), section(sectionMemory, []byte{1, 1, 1, 9}), 1)
	module := filepath.Join(t.TempDir(), "hostile.wasm")
	must(t, os.WriteFile(module, declared, 0o600))
	_, _, err := runOne(t, &Host{Cache: cache}, Step{Module: module}, "")
	if e := failed(t, err); e.Class != Trap || e.Reason != "unreachable (it had all the memory that it declares as its maximum)" {
		t.Errorf("got %v", e)
	}
}

func TestNastyPrograms(t *testing.T) {
	for how, test := range map[string]struct {
		format string
		class  Class
		reason string
	}{
		"panic":           {"", Exit, "panic: no way out"},
		"hoard":           {"", ResourceLimit, "out of memory"},
		"half a document": {"json", Invalid, "it is not json: unexpected EOF"},
		"nothing":         {"", Invalid, "wrote nothing"},
		"chatter":         {"", Exit, "last"},
	} {
		t.Run(how, func(t *testing.T) {
			h := &Host{Cache: cache, Ceiling: Limits{Memory: 32 << 20, Log: 1000}}
			step := Step{Module: built("subject"), Format: test.format, Params: map[string]string{"how": how}}
			_, _, err := runOne(t, h, step, "{}")
			e := failed(t, err)
			if e.Class != test.class || !strings.Contains(e.Reason, test.reason) {
				t.Errorf("got %v: %q\nlog: %s", e.Class, e.Reason, e.Log)
			}
			if traced := strings.Contains(e.Log, "goroutine "); traced != (how == "panic") {
				t.Errorf("log: %s", e.Log)
			}
			if len(e.Log) > 1100 || strings.Contains(e.Log, "\x1b") {
				t.Errorf("log is too long or not sanitized: %q", e.Log)
			}
		})
	}
}

// A module sees its arguments and nothing of the host, and the same each time.
func TestModuleIsPure(t *testing.T) {
	t.Setenv("SECRET", "secret")
	h := &Host{Cache: cache}
	for how, want := range map[string]string{
		"look around": `["transform" "1" "2" "f"] ["STATE_FROM=1" "STATE_TO=2" "STATE_FILE=f" "STATE_FORMAT=" "PARAM_HOW=look around"] 2022-01-01 00:00:00`,
		"sleep":       "1h0m0s",
	} {
		step := Step{Module: built("subject"), Params: map[string]string{"how": how}}
		first, _, err := runOne(t, h, step, "x")
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := runOne(t, h, step, "x")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(first, want) || first != again {
			t.Errorf("%s: got %s and %s", how, first, again)
		}
	}
}

func TestNoFiles(t *testing.T) {
	_, _, err := runOne(t, &Host{Cache: cache}, Step{Module: built("opener")}, "x")
	if e := failed(t, err); e.Class != BadModule || !strings.Contains(e.Reason, "there are no files") {
		t.Errorf("got %v", e)
	}
}
