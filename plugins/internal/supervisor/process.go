package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// killAgain is how often those that are to end by force are looked for: they
// may have forked while they were being killed.
const killAgain = 10 * time.Millisecond

// spawn starts the process.
func (s *supervisor) spawn() error {
	spec := s.status.Spec
	for _, path := range spec.Fresh {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot prepare start: %w", err)
		}
	}
	for _, path := range spec.Needs {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("cannot start without %w", err)
		}
	}
	cmd := exec.Command(spec.Command[0], spec.Command[1:]...)
	cmd.Dir, cmd.Env = spec.Dir, spec.Env
	cmd.Stdout, cmd.Stderr = s.output, s.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s in %s: %w", spec.Command[0], spec.Dir, err)
	}
	s.pid = cmd.Process.Pid
	cmd.Process.Release() // reap waits for it, together with all the others
	s.log.Info("started", "pid", s.pid, "version", spec.Version)
	s.tell(Running)
	return nil
}

// watch returns when the process has ended, or is to end.
func (s *supervisor) watch() {
	for s.pid != 0 && !s.stopping {
		var again <-chan time.Time
		if s.untold {
			again = time.After(tellAgain)
		}
		select {
		case <-s.child:
			s.reap()
		case sig := <-s.asked:
			s.hear(sig)
		case <-again:
			s.publish()
		}
	}
}

// clear returns when no process is left below this one. A process that is to
// stop is asked first; what a crashed one left behind is not.
func (s *supervisor) clear() {
	if s.stopping && !s.force {
		s.tell(Stopping)
		s.askToEnd()
	}
	for !s.reap() {
		var again <-chan time.Time
		if s.force || !s.stopping {
			s.kill()
			again = time.After(killAgain)
		}
		select {
		case <-s.child:
		case <-again:
		case sig := <-s.asked:
			s.hear(sig)
		}
	}
}

// rest waits before a restart, and reports whether there is to be none.
func (s *supervisor) rest(pause time.Duration) bool {
	s.tell(Waiting)
	s.log.Warn("process ended unasked", "how", s.status.Last, "restart_in", pause)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for !s.stopping {
		select {
		case <-timer.C:
			return false
		case <-s.child:
			s.reap()
		case sig := <-s.asked:
			s.hear(sig)
		}
	}
	return true
}

func (s *supervisor) hear(sig os.Signal) {
	switch sig {
	case syscall.SIGTERM:
		s.stopping = true
	case syscall.SIGQUIT:
		s.stopping, s.force = true, true
	}
}

// reap collects all children that have ended and reports whether there are
// none left. As this is their subreaper, that means no descendants either.
func (s *supervisor) reap() (none bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return true // ECHILD
		case pid == 0:
			return false
		case pid == s.pid:
			s.pid, s.status.Last = 0, describe(status)
		}
	}
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return fmt.Sprintf("killed by signal %d (%s)", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// askToEnd sends the signal for that to the process group, and wakes it in case it was
// suspended. It must not be called once the process was reaped: then the
// group's number may be another's.
func (s *supervisor) askToEnd() {
	if s.pid == 0 {
		return
	}
	syscall.Kill(-s.pid, syscall.Signal(cmp.Or(s.status.Spec.Halt, int(syscall.SIGTERM))))
	syscall.Kill(-s.pid, syscall.SIGCONT)
}

func (s *supervisor) kill() {
	pids, err := descendants(os.Getpid())
	if err != nil {
		s.log.Error("cannot look for processes", "error", err)
		pids = []int{s.pid}
	}
	for _, pid := range pids {
		if pid > 0 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
