package rig

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestComponentsAndGuard runs a program as a supervisor would run a
// component: it is found by its environment, and ended by its place.
func TestComponentsAndGuard(t *testing.T) {
	s := &System{Dir: t.TempDir()}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(s.Dir, "sleep")
	if b, err := os.ReadFile(sleep); err != nil || os.WriteFile(program, b, 0o700) != nil {
		t.Fatal("cannot copy sleep")
	}
	env := []string{"TRANQUIL_COMPONENT=" + SensorAdapter, "TRANQUIL_VERSION=1.0.0", "TRANQUIL_STATE=/x"}
	p, err := start(s.Dir, "sleep", program, env, "600")
	if err != nil {
		t.Fatal(err)
	}
	found := s.Components(SensorAdapter)
	if len(found) != 1 || found[0].PID != p.PID() || found[0].Version != "1.0.0" || found[0].State != "/x" || found[0].Started == "" {
		t.Errorf("found %+v", found)
	}
	if other := s.Components("application/other"); len(other) != 0 {
		t.Errorf("found %+v", other)
	}
	if p.Ended() {
		t.Error("ended before it was killed")
	}
	remove := t.TempDir()
	g, err := watch(s.Dir, remove)
	if err != nil {
		t.Fatal(err)
	}
	g.dismiss()
	if _, err := os.Stat(remove); err == nil {
		t.Error("the directory was not removed")
	}
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		t.Error("still runs")
	}
	p.Stop() // of what has ended
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("1\n2\n3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]string{1: "3", 2: "2\n3", 9: "1\n2\n3"} {
		if got := Tail(path, n); got != want {
			t.Errorf("%d lines: %q", n, got)
		}
	}
}
