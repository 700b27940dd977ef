package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrEnded says that a supervisor was killed before it could tell how it began. The
// next one puts an end to what it may have started.
var ErrEnded = errors.New("supervisor ended unexpectedly")

// Program is executed as the supervisor: this very program, right even if its
// file was replaced by an update. Tests have one that starts faster.
var Program = "/proc/self/exe"

// Start starts a supervisor and returns when the process of spec was spawned.
// The supervisor is Program, called with args and dir: its main must hand these
// to Run.
func Start(ctx context.Context, args []string, dir string, spec Spec) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := acquire(ctx, dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := writeJSON(specPath(dir), spec); err != nil {
		return err
	}
	report, err := launch(append(args, dir), lock)
	if err != nil {
		return fmt.Errorf("cannot start supervisor: %w", err)
	}
	defer report.Close()
	return hearReport(ctx, report)
}

// launch starts the supervisor in a session of its own and with nothing of
// ours but the lock, and hardly any environment.
// It inherits the lock, so that whoever asks knows of it from its first moment
// on, even if this process dies now.
func launch(args []string, lock *os.File) (report *os.File, err error) {
	report, remote, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer remote.Close()
	cmd := &exec.Cmd{
		Path:        Program,
		Args:        append([]string{os.Args[0]}, args...),
		Env:         []string{"PATH=" + os.Getenv("PATH")},
		ExtraFiles:  []*os.File{remote, lock}, // reportFD and lockFD
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		report.Close()
		return nil, err
	}
	go cmd.Wait() // so that it leaves no zombie if it ends before us
	return report, nil
}

func hearReport(ctx context.Context, report *os.File) error {
	stop := context.AfterFunc(ctx, func() { report.SetReadDeadline(time.Now()) })
	defer stop()
	var text string
	err := json.NewDecoder(report).Decode(&text)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w: %w", ErrEnded, err)
	case text != "":
		return errors.New(text)
	}
	return nil
}

// A Process is a supervisor that was found.
type Process struct {
	Status Status
	pidfd  int
}

// Find returns the supervisor that runs for dir, or nil; one that has only
// just been started it waits for. The caller closes what it gets. One whose
// files have been lost or damaged has an empty Spec.
func Find(ctx context.Context, dir string) (*Process, error) {
	for begin := time.Now(); ; {
		p, err := find(dir)
		if err != nil || p != nil && p.Status.State != Starting {
			return p, err
		}
		if p != nil {
			p.Close()
		}
		lock, err := tryLock(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return findLost(dir) // never started, or its files are gone
		}
		if err == nil {
			return nil, lock.Close()
		}
		if errors.Is(err, errLocked) && time.Since(begin) > tellTime {
			return findLost(dir)
		}
		if err := pause(ctx, err); err != nil {
			return nil, err
		}
	}
}

// tellTime is how long a supervisor may take from its start to its first
// status.
const tellTime = 3 * time.Second

// findLost looks for a supervisor of dir that nothing in dir tells of: by its
// last argument, and by the lock that it has open.
func findLost(dir string) (*Process, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		lock, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, lockFD))
		now, err := readStat(pid)
		if err != nil || now.dead || !strings.HasSuffix(string(args), "\x00"+dir+"\x00") ||
			strings.TrimSuffix(lock, " (deleted)") != lockPath(dir) {
			continue
		}
		return open(Status{PID: pid, Begun: now.begun, State: Running})
	}
	return nil, nil
}

func find(dir string) (*Process, error) {
	status, ok, err := readStatus(dir)
	if err != nil || !ok {
		return nil, err
	}
	return open(status)
}

// open returns the process that status tells of, or nil if it has ended.
func open(status Status) (*Process, error) {
	fd, err := unix.PidfdOpen(status.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d (Linux 5.3 or later is needed): %w", status.PID, err)
	}
	// Compared after the open: from here on the descriptor cannot mean
	// another process, even if the PID is recycled.
	now, err := readStat(status.PID)
	if err != nil || now.dead || now.begun != status.Begun {
		unix.Close(fd)
		return nil, nil
	}
	return &Process{Status: status, pidfd: fd}, nil
}

// Close forgets the process; it runs on.
func (p *Process) Close() { unix.Close(p.pidfd) }

// Stop ends the supervisor of dir with all that it runs: politely until grace
// has passed, then by force. It returns when nothing is left, also of what a
// killed supervisor left; mark is the Spec's. asked is called once the supervisor
// has been told, unless it is nil.
func Stop(ctx context.Context, dir, mark string, grace time.Duration, asked func() error) (forced bool, err error) {
	p, err := Find(ctx, dir)
	if err != nil {
		return false, err
	}
	if p != nil {
		defer p.Close()
		if forced, err = p.stop(ctx, grace, asked); err != nil {
			return forced, err
		}
	}
	found, err := KillMarked(ctx, mark)
	return forced || found, err
}

func (p *Process) stop(ctx context.Context, grace time.Duration, asked func() error) (forced bool, err error) {
	polite, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := p.signal(unix.SIGTERM); err != nil {
		return false, err
	}
	if asked != nil {
		if err := asked(); err != nil {
			return false, err
		}
	}
	if p.wait(polite) == nil {
		return false, nil
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err := p.signal(unix.SIGQUIT); err != nil {
		return true, err
	}
	return true, p.wait(ctx)
}

func (p *Process) signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil // it has ended, which is all a signal can ask for
	}
	return err
}

// wait returns nil when the process has ended.
func (p *Process) wait(ctx context.Context) error {
	const look = 50 // milliseconds until ctx is looked at again
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, look)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
	return fmt.Errorf("supervisor %d does not end: %w", p.Status.PID, ctx.Err())
}
