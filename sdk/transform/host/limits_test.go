package host

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// leb is a number in a module.
func number(n int) []byte { return leb(uint64(n)) }

// longSection frames a section of any length.
func longSection(id byte, content ...[]byte) []byte {
	all := slices.Concat(content...)
	return slices.Concat([]byte{id}, number(len(all)), all)
}

// nested makes a module with some equal functions, each with a body of about
// size bytes, with many locals that change between blocks nested so deep, from
// each of which there is a way out of all the others, and with long jump tables
// in the middle: the compiler has to work out at each end which value each
// local has.
func nested(functions, size, depth, jumps, locals int) []byte {
	body := slices.Concat(number(1), number(locals), []byte{0x7f})
	put := func(op byte, n int) { body = append(append(body, op), number(n)...) } // in place: to copy it all is slow
	for i := range depth {
		body = append(body, 0x02, 0x40) // block
		put(0x20, i%locals)
		put(0x21, (i*7+1)%locals)
		put(0x20, i%locals)
		put(0x0d, i)
	}
	for i := 0; len(body) < size-5*depth-3*jumps-64; i++ {
		put(0x20, i%locals)
		put(0x20, (i+1)%locals)
		body = append(body, 0x6a)
		put(0x21, (i*3)%locals)
	}
	body = append(body, 0x20, 1)
	put(0x0e, jumps) // br_table
	for i := range jumps + 1 {
		body = append(body, number(i*31%depth)...)
	}
	for i := range depth {
		body = append(body, 0x0b, 0x20, byte(i%100), 0x1a) // end, local.get, drop
	}
	body = append(body, 0x0b)
	code := [][]byte{number(functions)}
	for range functions {
		code = append(code, number(len(body)), body)
	}
	return slices.Concat(magic,
		section(sectionType, []byte{1, 0x60, 0, 0}),
		section(sectionFunction, number(functions), make([]byte, functions)),
		section(sectionMemory, []byte{1, 0, 1}),
		section(sectionExport, []byte{2}, text("memory"), []byte{2, 0}, text("_start"), []byte{0, 0}),
		longSection(sectionCode, code...))
}

// The worst that the two largest functions can be is compiled within the memory
// of a sandbox, and far below its time.
func TestOutsizeFunctions(t *testing.T) {
	cpu, memory := compileCost(t, nested(maxOutsize, maxOutsizeBody-1000, maxOutsizeDepth, maxTargets, maxLocals))
	t.Logf("%d outsize functions: %v of CPU time, %d MiB", maxOutsize, cpu, memory>>20)
	if err := Check(nested(maxOutsize+1, maxBody+1000, 10, 10, 10)); err == nil {
		t.Error("more outsize functions than allowed")
	}
}

// compileCost returns the CPU time and the memory that a sandbox takes to compile.
func compileCost(t *testing.T, module []byte) (time.Duration, int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "module.wasm")
	if err := os.WriteFile(path, module, 0o600); err != nil {
		t.Fatal(err)
	}
	h := &Host{Cache: filepath.Join(t.TempDir(), "cache"), Ceiling: Limits{Compile: time.Hour}} // the machine may have other work
	m, err := h.module(Step{Module: path})
	if err != nil {
		t.Fatal(err)
	}
	w, err := h.startWorker(t.Context(), m, 1)
	if err != nil {
		t.Fatal(err)
	}
	w.close()
	usage := w.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return w.cmd.ProcessState.UserTime(), int64(usage.Maxrss) << 10
}
