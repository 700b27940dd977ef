package exec

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

func TestStartRefuses(t *testing.T) {
	r := newRig(t)
	start := func(want string) {
		t.Helper()
		err := r.u.Start(r.ctx, updater.StartRequest{Component: name})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
		if r.status().Running {
			t.Error("runs")
		}
	}
	start("not installed")
	h, err := r.tryStage("1.0.0", `{"command":["./run.sh"]}`, map[string]string{"run.sh": "#!/bin/sh\nexec sleep 1000"})
	r.must(err)
	r.switchTo(h)
	program := r.h.Path("current", "files", "run.sh")
	r.must(os.Chmod(program, 0o600))
	start("permission denied")
	r.must(os.Remove(program))
	start("cannot start ./run.sh")
	r.switchTo(updater.Handle{})
	start("not installed")
}

func TestCrashIsRestarted(t *testing.T) {
	r := newRig(t)
	r.install("crash", "")
	r.eventually("three restarts", func() bool { return r.status().Restarts >= 3 })
	probe := r.probe()
	if probe.Healthy || !strings.Contains(probe.Reason, "exit status 3") || !strings.Contains(probe.Reason, "about to crash") {
		t.Errorf("probe says %+v", probe)
	}
	r.start() // which changes nothing: it is being restarted already
	r.stop(time.Minute)
	if s := r.status(); s.Running || s.Restarts != 0 {
		t.Errorf("status after Stop is %+v", s)
	}
}

// TestCauseOfThisStart: what an earlier start has printed is nobody's cause; what this
// one has is, also after the log was rotated.
func TestCauseOfThisStart(t *testing.T) {
	r := newRig(t)
	r.switchTo(r.stage("1.0.0", `{"command":["sh","-c","echo I am well; exec sleep 1000"]}`))
	r.start()
	log := r.h.Path("log", "component.log")
	r.eventually("the log", func() bool { data, _ := os.ReadFile(log); return len(data) > 0 })
	r.stop(time.Minute)
	r.switchTo(r.stage("2.0.0", `{"command":["sh","-c","exit 3"]}`))
	r.start()
	r.eventually("it crashes", func() bool { return !r.probe().Healthy })
	if reason := r.probe().Reason; strings.Contains(reason, "I am well") || !strings.Contains(reason, "exit status 3") {
		t.Error(reason)
	}
	r.must(os.Rename(log, log+".1"))
	r.must(os.WriteFile(log, []byte("no luck\n"), 0o600))
	r.eventually("it says why", func() bool { return strings.Contains(r.probe().Reason, "no luck") })
	r.stop(time.Minute)
	r.switchTo(r.stage("3.0.0", `{"command":["nothing-of-that-name"]}`))
	if err := r.u.Start(r.ctx, updater.StartRequest{Component: name}); err == nil || strings.Contains(err.Error(), "its log ends") {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	r := newRig(t)
	h := r.stage("1.0.0", `{"command":["sh","-c","pwd; env; exec sleep 1000"],"env":{"COLOUR":"blue"}}`)
	r.switchTo(h)
	r.start()
	want := []string{
		r.h.Path("versions", string(h.Data)) + "/files", "COLOUR=blue", "TRANQUIL_COMPONENT=application/a", "TRANQUIL_VERSION=1.0.0",
		"TRANQUIL_STATE=" + r.h.Path("state"), "TRANQUIL_CONTROL=" + r.h.Control, "TRANQUIL_LINK=" + r.h.Link,
	}
	log := func() string { data, _ := os.ReadFile(r.h.Path("log", "component.log")); return string(data) }
	r.eventually("the log", func() bool { return strings.Contains(log(), "TRANQUIL_LINK") && strings.Contains(log(), "COLOUR") })
	r.stop(time.Minute)
	for _, line := range want {
		if !strings.Contains(log(), line+"\n") {
			t.Errorf("%q is missing in\n%s", line, log())
		}
	}
}

// TestForce: a component that ignores SIGTERM, with a child in a session of
// its own, is ended by force, and Stop says so.
func TestForce(t *testing.T) {
	r := newRig(t)
	r.install("stubborn", "")
	pids := r.stubborn()
	if !r.stop(50 * time.Millisecond) {
		t.Error("Stop says that no force was needed")
	}
	r.dead(pids)
	if r.stop(time.Second) {
		t.Error("a second Stop says that force was needed")
	}
}

// stubborn waits for both processes of the role and returns their PIDs.
func (r *rig) stubborn() (pids []string) {
	r.Helper()
	for _, file := range []string{"pid", "pid1"} {
		r.eventually(file, func() bool {
			pid, err := os.ReadFile(filepath.Join(r.h.State(), file))
			if err == nil && len(pid) > 0 {
				pids = append(pids, string(pid))
			}
			return err == nil && len(pid) > 0
		})
	}
	return pids
}

func (r *rig) dead(pids []string) {
	r.Helper()
	for _, pid := range pids {
		if !zombie(pid) {
			r.Errorf("process %s runs", pid)
		}
	}
}

// TestSupervisorKilled: the kernel ends the component, its child is found by
// whoever comes next.
func TestSupervisorKilled(t *testing.T) {
	for name, next := range map[string]func(*rig){
		"Stop":  func(r *rig) { r.stop(time.Second) },
		"Start": func(r *rig) { r.start() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.install("stubborn", "")
			pids := r.stubborn()
			r.must(syscall.Kill(r.supervised().PID, syscall.SIGKILL))
			r.eventually("the component is dead", func() bool { return zombie(pids[0]) })
			r.eventually("the status says so", func() bool { return !r.status().Running })
			if p := r.probe(); p.Healthy {
				t.Error("healthy without a supervisor")
			}
			next(r)
			r.dead(pids)
			r.stop(time.Millisecond)
		})
	}
}

// killed is a file that has the next supervisor killed as it begins.
const killed = "killed"

// TestSupervisorKilledAsItBegins: that is a reason to try again, for an update that
// goes back as well; to give up there would leave the component down.
func TestSupervisorKilledAsItBegins(t *testing.T) {
	r := newRig(t)
	r.switchTo(r.stage("1.0.0", settings("sleep", "")))
	r.must(errors.Join(os.MkdirAll(r.h.Run(), 0o700), os.WriteFile(filepath.Join(r.h.Run(), killed), nil, 0o600)))
	err := r.u.Start(t.Context(), updater.StartRequest{Component: name})
	if !errors.Is(err, updater.ErrRetry) || !errors.Is(err, supervisor.ErrEnded) {
		t.Errorf("error %v", err)
	}
	r.start()
	if !r.status().Running {
		t.Error("it does not run")
	}
}

// TestAnotherProcess: a status whose PID belongs to another process now, or
// that is of another boot, is not believed.
func TestAnotherProcess(t *testing.T) {
	for name, change := range map[string]func(*supervisor.Status){
		"recycled PID":   func(s *supervisor.Status) { s.Begun++ },
		"another boot":   func(s *supervisor.Status) { s.Boot = "another" },
		"no such PID":    func(s *supervisor.Status) { s.PID = 1 << 22 },
		"no PID at all":  func(s *supervisor.Status) { s.PID = 0 },
		"an absurd PID":  func(s *supervisor.Status) { s.PID = -1 },
		"the lock helps": func(*supervisor.Status) {},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.install("sleep", "")
			status := r.supervised()
			r.stop(time.Minute)
			status.PID = os.Getpid() // which runs, but is no supervisor
			if name == "the lock helps" {
				status.Begun = 0
			}
			change(&status)
			data, err := json.Marshal(status)
			r.must(err)
			r.must(os.WriteFile(r.h.Path("run", "status.json"), data, 0o600))
			if r.status().Running {
				t.Error("runs")
			}
			r.start()
			r.eventually("runs", func() bool { return r.status().Running })
		})
	}
}

func TestTornStatus(t *testing.T) {
	r := newRig(t)
	r.install("sleep", "")
	r.stop(time.Minute)
	r.must(os.WriteFile(r.h.Path("run", "status.json"), []byte(`{"Boot":`), 0o600))
	if r.status().Running {
		t.Error("runs")
	}
	r.start()
}

// TestStartAnother: Start means the version switched to, whatever runs.
func TestStartAnother(t *testing.T) {
	r := newRig(t)
	r.install("sleep", "")
	first := r.supervised()
	r.start()
	if now := r.supervised(); now.PID != first.PID || now.Process != first.Process {
		t.Error("Start of what runs started it again")
	}
	r.switchTo(r.stage("2.0.0", settings("sleep", "")))
	r.start()
	if now := r.supervised(); !strings.HasPrefix(now.Spec.Version, "2.0.0-") {
		t.Errorf("%s runs", now.Spec.Version)
	}
	r.dead([]string{strconv.Itoa(first.Process), strconv.Itoa(first.PID)})
}
