package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tickEvery is how often a waiting host looks at deadlines and progress.
const tickEvery = 100 * time.Millisecond

// A worker is the host's end of one sandbox process, with one module.
type worker struct {
	conn   *net.UnixConn
	cmd    *exec.Cmd
	stderr *excerpt      // of the process itself; complete when done is closed
	done   chan struct{} // closed when the process has ended
}

// A budget bounds the answer to one message. The kernel bounds CPU time as
// well, but only that of the whole process.
type budget struct{ wall, cpu time.Duration }

// startWorker starts a sandbox for some jobs and lets it compile the module.
func (h *Host) startWorker(ctx context.Context, m module, jobs int) (*worker, error) {
	limits := h.limits()
	cache, err := filepath.Abs(h.Cache) // the sandbox has another working directory
	if err != nil {
		return nil, err
	}
	w, err := h.spawn()
	if err != nil {
		return nil, fmt.Errorf("cannot start the sandbox of transforms: %w", err)
	}
	result, err := w.call(ctx, setup{
		Module: m.path,
		SHA256: m.sum,
		Cache:  filepath.Join(cache, "compiled"),
		Memory: limits.Memory,
		CPU:    int64((limits.Compile + time.Duration(jobs)*limits.CPU + time.Second) / time.Second),

		Interpret: h.Interpret,
	}, nil, budget{limits.Compile, limits.Compile}, nil)
	if err == nil && result.Class != "" {
		err = &Error{Class: result.Class, Reason: result.Reason}
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (h *Host) spawn() (*worker, error) {
	empty := filepath.Join(h.Cache, "empty")
	for _, dir := range []string{h.Cache, empty} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	conn, child, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer child.Close()
	w := &worker{conn: conn, stderr: &excerpt{limit: 16 << 10}, done: make(chan struct{})}
	w.cmd = &exec.Cmd{
		Path:        "/proc/self/exe", // also when the file was replaced meanwhile
		Args:        []string{childName},
		Env:         []string{},
		Dir:         empty,
		Stderr:      w.stderr,
		ExtraFiles:  []*os.File{child},
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	started := make(chan error, 1)
	go w.live(started)
	if err := <-started; err != nil {
		conn.Close()
		return nil, err
	}
	return w, nil
}

// live is the process from start to end. It keeps a thread of its own: the
// child inherits no_new_privs from that thread, and Pdeathsig fires when it
// dies. Since the goroutine never unlocks it, the runtime then discards it.
func (w *worker) live(started chan<- error) {
	runtime.LockOSThread()
	defer close(w.done)
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		err = w.cmd.Start()
	}
	started <- err
	if err == nil {
		w.cmd.Wait() // how it ended is in cmd.ProcessState
	}
}

// call sends a message and waits for the outcome. A sandbox that dies or is
// late has its outcome, too; an error is a failure of the host or of ctx. tick
// is called now and then, and may be nil.
func (w *worker) call(ctx context.Context, message any, files []*os.File, b budget, tick func()) (outcome, error) {
	deadline, cpu := time.Now().Add(b.wall), w.cpuTime()
	if err := send(w.conn, message, files...); err != nil {
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			return w.died(), nil
		}
		return outcome{}, fmt.Errorf("cannot talk to the sandbox of transforms: %w", err)
	}
	for {
		if err := ctx.Err(); err != nil {
			return outcome{}, context.Cause(ctx)
		}
		if time.Now().After(deadline) {
			return outcome{Class: Deadline, Reason: fmt.Sprintf("more than %v", b.wall)}, nil
		}
		if w.cpuTime()-cpu > b.cpu {
			return outcome{Class: Deadline, Reason: fmt.Sprintf("more than %v of CPU time", b.cpu)}, nil
		}
		if err := w.conn.SetReadDeadline(time.Now().Add(tickEvery)); err != nil {
			return outcome{}, err
		}
		var result outcome
		_, err := receive(w.conn, &result)
		switch {
		case err == nil:
			return result, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if tick != nil {
				tick()
			}
		case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
			return w.died(), nil
		default:
			return outcome{}, fmt.Errorf("cannot talk to the sandbox of transforms: %w", err)
		}
	}
}

// cpuTime returns the CPU time the sandbox has used, or 0 when it has ended.
func (w *worker) cpuTime() time.Duration {
	clock := ^w.cmd.Process.Pid<<3 | 2 // MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
	var used unix.Timespec
	if err := unix.ClockGettime(int32(clock), &used); err != nil {
		return 0
	}
	return time.Duration(used.Nano())
}

// died tells why the sandbox ended without being asked to.
func (w *worker) died() outcome {
	lingering := time.AfterFunc(5*time.Second, func() { w.cmd.Process.Kill() })
	<-w.done
	lingering.Stop()
	text := w.stderr.String()
	status, _ := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case strings.Contains(text, "out of memory") || strings.Contains(text, "cannot allocate memory"):
		return outcome{Class: ResourceLimit, Reason: "out of memory"}
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return outcome{Class: ResourceLimit, Reason: "killed by the system, probably for want of memory"}
	}
	return outcome{Class: Crash, Reason: firstLine(text)}
}

// close ends the sandbox, in whatever it does, and waits for its end.
func (w *worker) close() {
	w.conn.Close()
	w.cmd.Process.Kill() // an error means that it has ended already
	<-w.done
}
