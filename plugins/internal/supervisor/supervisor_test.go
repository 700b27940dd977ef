package supervisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the supervisors that the tests start. They end by
// syscall.Exit, since the race detector lets os.Exit take a second.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "supervise" {
		syscall.Exit(Run(os.Args[2]))
	}
	os.Exit(m.Run())
}

// shell is a spec that runs a shell script in a directory of its own.
func shell(t *testing.T, script string) (dir string, spec Spec) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "run")
	mark := "SUPERVISOR_TEST=" + dir
	spec = Spec{
		Version: "1", Dir: t.TempDir(), Command: []string{"sh", "-c", script},
		Env: []string{"PATH=" + os.Getenv("PATH"), mark}, Mark: mark,
		Log: filepath.Join(filepath.Dir(dir), "log", "log"), LogSize: 100, LogKeep: 2,
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := Stop(ctx, dir, mark, time.Second, nil); err != nil {
			t.Error(err)
		}
	})
	return dir, spec
}

func start(t *testing.T, dir string, spec Spec) Status {
	t.Helper()
	if err := Start(t.Context(), []string{"supervise"}, dir, spec); err != nil {
		t.Fatal(err)
	}
	return status(t, dir)
}

// status returns a zero Status if no supervisor runs.
func status(t *testing.T, dir string) Status {
	t.Helper()
	p, err := Find(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if p == nil {
		return Status{}
	}
	defer p.Close()
	return p.Status
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// TestOutputIsComplete: all that was printed until the end is in the logs, in
// order, whole lines or not.
func TestOutputIsComplete(t *testing.T) {
	dir, spec := shell(t, `trap 'echo bye; echo and err >&2; printf end; exit 0' TERM; echo ready; while :; do sleep 0.01; done`)
	start(t, dir, spec)
	log := func() string {
		var all string
		for _, name := range []string{".2", ".1", ""} {
			data, _ := os.ReadFile(spec.Log + name)
			all += string(data)
		}
		return all
	}
	eventually(t, "ready", func() bool { return log() == "ready\n" })
	forced, err := Stop(t.Context(), dir, spec.Mark, time.Minute, nil)
	if err != nil || forced {
		t.Errorf("forced %t, error %v", forced, err)
	}
	// The shell tells of its child, which was in the group as well.
	if got := strings.ReplaceAll(log(), "Terminated\n", ""); got != "ready\nbye\nand err\nend" {
		t.Errorf("log is %q", got)
	}
}

func TestOutputIsRotated(t *testing.T) {
	dir, spec := shell(t, `for i in 1 2 3 4 5 6 7 8 9; do sleep 0.01; echo $i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i; done; exec sleep 1000`)
	start(t, dir, spec)
	eventually(t, "the last line", func() bool {
		data, _ := os.ReadFile(spec.Log)
		return strings.Contains(string(data), "999\n")
	})
	names, _ := filepath.Glob(spec.Log + "*")
	if len(names) != 3 {
		t.Errorf("log files are %v, want 3", names)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Size() > spec.LogSize {
			t.Errorf("%s has %d bytes, error %v", name, info.Size(), err)
		}
	}
}

// TestOne: however many want to start one, one runs.
func TestOne(t *testing.T) {
	dir, spec := shell(t, `echo started; exec sleep 1000`)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	started := make(chan error, 8)
	for range cap(started) {
		wg.Go(func() { started <- Start(ctx, []string{"supervise"}, dir, spec) })
	}
	wg.Wait()
	close(started)
	good := 0
	for err := range started {
		if err == nil {
			good++
		}
	}
	if good != 1 {
		t.Errorf("%d of the starts succeeded", good)
	}
	if data, _ := os.ReadFile(spec.Log); string(data) != "started\n" && len(data) > 0 {
		t.Errorf("log is %q", data)
	}
}

// TestGivenUp: a Start that was given up at once may still have begun; Stop
// ends that too.
func TestGivenUp(t *testing.T) {
	dir, spec := shell(t, `exec sleep 1000`)
	for wait := range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(wait)*time.Millisecond)
		Start(ctx, []string{"supervise"}, dir, spec)
		cancel()
		if _, err := Stop(t.Context(), dir, spec.Mark, time.Minute, nil); err != nil {
			t.Fatal(err)
		}
		if now := status(t, dir); now.PID != 0 {
			t.Errorf("given up after %d ms: %s after Stop", wait, now.State)
		}
	}
}

// TestStopWhileWaiting: one that waits before a restart ends at once.
func TestStopWhileWaiting(t *testing.T) {
	dir, spec := shell(t, `exit 7`)
	start(t, dir, spec)
	eventually(t, "waits", func() bool { return status(t, dir).State == Waiting })
	if got := status(t, dir).Last; got != "exit status 7" {
		t.Errorf("it ended with %q", got)
	}
	if forced, err := Stop(t.Context(), dir, spec.Mark, time.Minute, nil); err != nil || forced {
		t.Errorf("forced %t, error %v", forced, err)
	}
}

// TestRestartEndsLeftovers: what a crashed process leaves behind does not stay
// beside its successor.
func TestRestartEndsLeftovers(t *testing.T) {
	dir, spec := shell(t, `if test -f left; then exec sleep 1000; fi; setsid sleep 1000 & echo $! >left; exit 1`)
	start(t, dir, spec)
	eventually(t, "restarted", func() bool { now := status(t, dir); return now.Restarts == 1 && now.State == Running })
	data, err := os.ReadFile(filepath.Join(spec.Dir, "left"))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	fmt.Sscan(string(data), &pid)
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("process %d is still there: %v", pid, err)
	}
}

// TestSuspended: a suspended process still gets to end politely.
func TestSuspended(t *testing.T) {
	dir, spec := shell(t, `trap 'exit 0' TERM; while :; do sleep 0.01; done`)
	now := start(t, dir, spec)
	if err := syscall.Kill(-now.Process, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if forced, err := Stop(t.Context(), dir, spec.Mark, time.Minute, nil); err != nil || forced {
		t.Errorf("forced %t, error %v", forced, err)
	}
}

// TestByHand: the program refuses to be a supervisor that nobody started.
// A status that could not be written is written later: here a directory is in
// its way for a while.
func TestStatusIsWrittenAgain(t *testing.T) {
	dir, spec := shell(t, `while [ ! -e go ]; do sleep 0.02; done; rm go; exit 1`)
	spec.Dir = dir
	start(t, dir, spec)
	inTheWay := statusPath(dir) + ".new"
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "neither that it ended nor that it runs again can be written", func() bool {
		b, _ := os.ReadFile(Log(dir))
		return strings.Count(string(b), "cannot write status") > 1
	})
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the status says that it runs again", func() bool {
		s := status(t, dir)
		return s.State == Running && s.Restarts > 0
	})
}

func TestByHand(t *testing.T) {
	dir := t.TempDir()
	lock, err := acquire(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	if err := checkLock(dir); err == nil {
		t.Error("a process without the lock may supervise")
	}
}

func TestBadSpec(t *testing.T) {
	dir, spec := shell(t, ``)
	spec.Command = nil
	err := Start(t.Context(), []string{"supervise"}, dir, spec)
	if err == nil || !strings.Contains(err.Error(), "names no command") {
		t.Errorf("error %v", err)
	}
	if now := status(t, dir); now.PID != 0 {
		t.Errorf("status is %+v", now)
	}
}
