package host

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/internal/wat"
)

// A drain has what was written before it is ended, all of it, and then neither
// waits for whoever holds the pipe nor reads without end.
func TestDrain(t *testing.T) {
	for name, test := range map[string]struct {
		write func(to *os.File)
		least int
	}{
		"nothing":     {func(*os.File) {}, 0},
		"a full pipe": {func(to *os.File) { to.Write(make([]byte, 60<<10)) }, 60 << 10},
		"a flood": {func(to *os.File) {
			go func() {
				for err := error(nil); err == nil; _, err = to.Write(make([]byte, 64<<10)) {
				}
				to.Close()
			}()
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			begin := make(chan struct{})
			d, err := newDrain(func(r io.Reader) { <-begin; io.Copy(&got, io.LimitReader(r, 1<<30)) })
			must(t, err)
			held, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(d.into.Fd())), os.O_WRONLY, 0)
			must(t, err)
			if name != "a flood" {
				defer held.Close()
			}
			test.write(held)
			close(begin)
			d.end()
			if got.Len() < test.least || test.least > 0 && got.Len() > test.least {
				t.Errorf("got %d bytes", got.Len())
			}
		})
	}
}

// TestStore: a result is whole, or it is said why it is not.
func TestStore(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "result"))
	must(t, err)
	defer file.Close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t, err)
	defer full.Close()
	for name, test := range map[string]struct {
		to     *os.File
		most   int64
		class  Class
		reason string
	}{
		"fits":     {file, 5, "", ""},
		"too long": {file, 4, OutputLimit, "more than 4 bytes"},
		"no room":  {full, 5, ResourceLimit, "cannot write the result: no space left on device"},
	} {
		if got := store(test.to, strings.NewReader("bytes"), test.most); got.Class != test.class || got.Reason != test.reason {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// TestShorterInput: nobody blames the module when the state becomes shorter while
// it is read.
func TestShorterInput(t *testing.T) {
	text, err := os.ReadFile("../testdata/abi/echo/module.wat")
	must(t, err)
	step := Step{Module: filepath.Join(t.TempDir(), "echo.wasm"), From: 1, To: 2}
	must(t, os.WriteFile(step.Module, wat.Assemble(t, string(text)), 0o600))
	h := &Host{Cache: cache}
	m, err := h.module(step)
	must(t, err)
	w, err := h.startWorker(t.Context(), m, 1)
	must(t, err)
	defer w.close()
	s := &stage{run: &run{host: h, work: t.TempDir()}, Step: step, module: m}
	b, err := s.newBench()
	must(t, err)
	defer b.close()
	_, err = b.put(strings.NewReader("short"))
	must(t, err)
	if err := s.transform(t.Context(), w, b.in, b.out, "f", 6); err == nil || !strings.Contains(err.Error(), "the state changed while it was read") {
		t.Errorf("got %v", err)
	}
}
