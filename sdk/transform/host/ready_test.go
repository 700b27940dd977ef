package host

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// waiting returns the sandboxes that wait.
func (h *Host) waiting() []*guest {
	h.lounge.mu.Lock()
	defer h.lounge.mu.Unlock()
	return slices.Concat(slices.Collect(maps.Values(h.lounge.waiting))...)
}

func TestReady(t *testing.T) {
	h := &Host{Cache: cache}
	defer h.Close()
	steps := []Step{counter(1, 2), counter(2, 1)} // of one module
	all := min(readySandboxes, runtime.GOMAXPROCS(0))
	for range 2 {
		if err := h.Ready(t.Context(), steps); err != nil {
			t.Fatal(err)
		}
		if n := len(h.waiting()); n != all {
			t.Fatalf("%d sandboxes wait", n)
		}
	}
	for _, killed := range []bool{false, true} {
		if err := h.Ready(t.Context(), steps); err != nil {
			t.Fatal(err)
		}
		left := all - 1
		if killed {
			for _, g := range h.waiting() {
				g.cmd.Process.Kill()
				<-g.done
			}
			left = 0
		}
		got, _, err := runOne(t, h, Step{Module: built("subject"), Format: "json"}, `{"count":1}`)
		if err != nil || got != `{"total":1}`+"\n" {
			t.Errorf("killed %t: got %q, %v", killed, got, err)
		}
		if n := len(h.waiting()); n != left {
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

// TestAllThatWaitShare: as many sandboxes as wait take part in some small changes.
func TestAllThatWaitShare(t *testing.T) {
	h := &Host{Cache: cache}
	defer h.Close()
	step := counter(1, 2)
	if err := h.Ready(t.Context(), []Step{step}); err != nil {
		t.Fatal(err)
	}
	in := write(t, map[string]string{"a.json": `{"count":1}`, "b.json": `{"count":2}`, "c.json": `{"count":3}`})
	if _, err := h.Run(t.Context(), []Step{step}, in, filepath.Join(t.TempDir(), "out"), nil); err != nil {
		t.Fatal(err)
	}
	if n := len(h.waiting()); n != 0 {
		t.Errorf("%d sandboxes wait still", n)
	}
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

// TestKeep: a sandbox that is kept does run after run, each from the begin, until
// one goes wrong or nobody keeps it.
func TestKeep(t *testing.T) {
	h := &Host{Cache: cache}
	release := h.Keep()
	defer h.Close()
	in, first := write(t, map[string]string{"f": `{"count":1}`}), 0
	for _, step := range []Step{{Format: "json"}, {Format: "json"}, {Mode: Tree}} {
		step.Module, step.From, step.To = built("subject"), 1, 2
		if _, err := h.Run(t.Context(), []Step{step}, in, filepath.Join(t.TempDir(), "out"), nil); err != nil {
			t.Fatalf("mode %q: %v", step.Mode, err)
		}
		kept := h.waiting()
		if len(kept) != 1 || first != 0 && kept[0].cmd.Process.Pid != first {
			t.Fatalf("mode %q: %d are kept, after process %d", step.Mode, len(kept), first)
		}
		first = kept[0].cmd.Process.Pid
	}
	if _, _, err := runOne(t, h, Step{Module: built("subject"), Format: "json"}, `{`); err == nil {
		t.Error("what is no JSON is transformed")
	}
	if n := len(h.waiting()); n != 0 {
		t.Errorf("%d are kept after a failure", n)
	}
	if _, _, err := runOne(t, h, Step{Module: built("subject"), Format: "json"}, `{"count":1}`); err != nil {
		t.Error(err)
	}
	release()
	if n := len(h.waiting()); n != 0 {
		t.Errorf("%d are kept when nobody does", n)
	}
}

// TestReadyAtAll: a chain of many modules does not fill the memory with those
// that wait.
func TestReadyAtAll(t *testing.T) {
	var l lounge
	for i := range 2 * readyAtAll {
		m := module{sum: [32]byte{byte(i)}}
		if seated := l.seat(m, nil); seated != (i < readyAtAll) {
			t.Errorf("module %d has a seat: %v", i, seated)
		}
	}
	for _, guests := range l.waiting {
		for _, g := range guests {
			g.end.Stop()
		}
	}
}

// What has passed the check is not read and checked again while the component is
// stopped. A sandbox that has yet to compile it takes nothing else for it.
func TestCheckedOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "module.wasm")
	content, err := os.ReadFile(built("subject"))
	must(t, err)
	must(t, os.WriteFile(file, content, 0o600))
	h := &Host{Cache: cache}
	defer h.Close()
	step := Step{Module: file, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(content)), Format: "json"}
	must(t, h.Ready(t.Context(), []Step{step}))
	must(t, os.Truncate(file, 100))
	got, _, err := runOne(t, h, step, `{"count":1}`)
	if err != nil || got != `{"total":1}`+"\n" {
		t.Errorf("with a sandbox that waits: got %q, %v", got, err)
	}
	h.Close()
	_, _, err = runOne(t, h, step, `{"count":1}`)
	if e, is := errors.AsType[*Error](err); !is || e.Class != BadModule {
		t.Errorf("with a new sandbox: %v, want %s", err, BadModule)
	}
}
