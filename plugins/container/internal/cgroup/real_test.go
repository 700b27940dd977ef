package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// newGroup makes a group as an engine would, with a process in it.
func newGroup(t *testing.T) (name string, process *exec.Cmd) {
	t.Helper()
	name = fmt.Sprintf("test-%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	var made string
	for _, root := range []string{"/sys/fs/cgroup/freezer", "/sys/fs/cgroup"} {
		dir := filepath.Join(root, Path(name), "lxc."+Payload+".x")
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err == nil && os.MkdirAll(dir, 0o755) == nil {
			made = dir
			break
		}
	}
	if made == "" {
		t.Skip("NOT TESTED: it needs root and control groups with a freezer")
	}
	process = exec.Command("sh", "-c", "while :; do :; done")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		Thaw(name)
		process.Process.Kill()
		process.Wait()
		Sweep(context.Background(), name)
	})
	if err := os.WriteFile(filepath.Join(made, "cgroup.procs"), []byte(strconv.Itoa(process.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	return name, process
}

// spent is the processor time that a process has used, in ticks.
func spent(t *testing.T, p *exec.Cmd) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	return fields[13] + " " + fields[14]
}

func TestFreeze(t *testing.T) {
	name, process := newGroup(t)
	if Frozen(name) {
		t.Error("frozen from the start")
	}
	for range 2 {
		if err := Freeze(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if !Frozen(name) {
		t.Error("not frozen")
	}
	before := spent(t, process)
	time.Sleep(50 * time.Millisecond) // it would use up its time now
	if after := spent(t, process); after != before {
		t.Errorf("it went on: from %s to %s", before, after)
	}
	for range 2 {
		if err := Thaw(name); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); spent(t, process) == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not go on")
		}
	}
}

// TestSweep ends also what is frozen.
func TestSweep(t *testing.T) {
	name, process := newGroup(t)
	if pids, err := Processes(name); len(pids) != 1 || pids[0] != process.Process.Pid || err != nil {
		t.Errorf("processes %v, %v", pids, err)
	}
	if err := Freeze(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	if found, err := Sweep(t.Context(), name); !found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it ended by %v", err)
	}
	if left, err := dirs(name); len(left) > 0 || err != nil {
		t.Errorf("left are %v, %v", left, err)
	}
	if found, err := Sweep(t.Context(), name); found || err != nil {
		t.Errorf("the second time: %v, %v", found, err)
	}
}

func TestNothingThere(t *testing.T) {
	const name = "no-such-container"
	if err := Freeze(t.Context(), name); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Freeze: %v", err)
	}
	found, err := Sweep(t.Context(), name)
	if Frozen(name) || found || errors.Join(err, Thaw(name)) != nil {
		t.Errorf("found %v, %v", found, err)
	}
}
