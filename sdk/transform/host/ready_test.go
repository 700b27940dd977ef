package host

import (
	"os"
	"path/filepath"
	"testing"
)

// waiting returns the sandboxes that wait, by process.
func (h *Host) waiting() []int {
	h.lounge.mu.Lock()
	defer h.lounge.mu.Unlock()
	var pids []int
	for _, g := range h.lounge.waiting {
		pids = append(pids, g.cmd.Process.Pid)
	}
	return pids
}

func TestReady(t *testing.T) {
	h := &Host{Cache: cache}
	defer h.Close()
	steps := []Step{counter(1, 2), counter(2, 1)} // of one module
	for range 2 {
		if err := h.Ready(t.Context(), steps); err != nil {
			t.Fatal(err)
		}
		if n := len(h.waiting()); n != 1 {
			t.Fatalf("%d sandboxes wait", n)
		}
	}
	for _, killed := range []bool{false, true} {
		if killed {
			if err := h.Ready(t.Context(), steps); err != nil {
				t.Fatal(err)
			}
			process, err := os.FindProcess(h.waiting()[0])
			if err != nil {
				t.Fatal(err)
			}
			process.Kill()
			<-h.lounge.waiting[moduleOf(t, steps[0])].done
		}
		got, _, err := runOne(t, h, Step{Module: built("subject"), Format: "json"}, `{"count":1}`)
		if err != nil || got != `{"total":1}`+"\n" {
			t.Errorf("killed %t: got %q, %v", killed, got, err)
		}
		if n := len(h.waiting()); n != 0 {
			t.Errorf("killed %t: %d sandboxes wait still", killed, n)
		}
	}
	if err := h.Ready(t.Context(), steps); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if n := len(h.waiting()); n != 0 {
		t.Errorf("%d sandboxes wait after the end", n)
	}
}

func moduleOf(t *testing.T, step Step) module {
	t.Helper()
	m, err := openModule(step.Module, step.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A module that cannot run is found out before anything has stopped.
func TestReadyRefuses(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.wasm")
	if err := os.WriteFile(bad, assemble([]byte{0x1a, 0x0b}), 0o600); err != nil { // drops what is not there
		t.Fatal(err)
	}
	h := &Host{Cache: cache}
	defer h.Close()
	e := failed(t, h.Ready(t.Context(), []Step{{}, {Module: bad, From: 1, To: 2}}))
	if e.Class != BadModule || e.Edge != "1→2" {
		t.Errorf("got %v", e)
	}
}
