package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/host/internal/cage"
	"golang.org/x/sys/unix"
)

// tickEvery is how often a waiting host looks at deadlines and progress.
const tickEvery = 100 * time.Millisecond

// patience is with a sandbox that an honest one does not need.
const patience = 5 * time.Second

// A worker is the host's end of one sandbox process, with one module.
type worker struct {
	conn   *net.UnixConn
	cmd    *exec.Cmd
	stderr *excerpt      // of the process itself; complete when done is closed
	done   chan struct{} // closed when the process has ended
	left   int           // runs for which it has CPU time, as the kernel counts

	missing []cage.Missing // layers that the host's side could not lay
}

// A budget bounds the answer to one message. The kernel bounds CPU time as
// well, but only that of the whole process.
type budget struct{ wall, cpu time.Duration }

// startWorker starts a sandbox for some jobs and lets it compile the module.
func (h *Host) startWorker(ctx context.Context, m module, jobs int) (*worker, error) {
	limits := m.limits
	file, err := os.Open(m.path)
	if err != nil {
		return nil, fmt.Errorf("cannot read transform: %w", err)
	}
	defer file.Close()
	w, err := h.startSandbox(ctx, file, setup{
		SHA256: m.sum,
		Memory: limits.Memory,
		CPU:    int64((limits.Compile + time.Duration(jobs)*limits.CPU + time.Second) / time.Second),

		Interpret: h.Interpret,
		Wasm:      h.Wasm,
	}, limits.Compile)
	if err != nil {
		return nil, err
	}
	w.left = jobs
	return w, nil
}

// startJudge starts a sandbox that holds results against a schema.
func (h *Host) startJudge(ctx context.Context, schema []byte, format string) (*worker, error) {
	fd, err := unix.MemfdCreate("schema", unix.MFD_CLOEXEC) // a file would stay when the host dies
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "schema")
	defer file.Close()
	if _, err := file.Write(schema); err != nil {
		return nil, err
	}
	if err := rewind(file); err != nil {
		return nil, err
	}
	limits := h.limits(Limits{})
	cpu := int64((limits.Compile + readyJobs*limits.CPU) / time.Second)
	return h.startSandbox(ctx, file, setup{Memory: judgeMemory, CPU: cpu, Judge: format}, limits.Compile)
}

func (h *Host) startSandbox(ctx context.Context, file *os.File, s setup, within time.Duration) (*worker, error) {
	var err error
	if s.Dir, err = filepath.Abs(h.Cache); err != nil { // the sandbox has another working directory
		return nil, err
	}
	w, err := spawn(s.Dir, cmp.Or(h.Program, self), childName)
	if err != nil {
		return nil, fmt.Errorf("cannot start the sandbox of transforms: %w", err)
	}
	result, err := h.begin(ctx, w, file, s, within)
	if result.Class == Deadline {
		result.Reason += " to compile"
	}
	if err == nil && result.Class != "" {
		err = &Error{Class: result.Class, Reason: result.Reason}
	}
	if err != nil {
		w.close()
		return nil, err
	}
	h.tellMissing(append(w.missing, result.Missing...))
	if result.Native { // for which the cache need not make room
		h.natives.Store(s.SHA256, true)
	}
	if result.Uncached != "" {
		h.tellOnce(s.SHA256, "a compiled transform is not kept: each sandbox compiles it again", "module", entryName(s.SHA256), "why", result.Uncached)
	}
	return w, nil
}

// begin gives the sandbox its module or schema.
func (h *Host) begin(ctx context.Context, w *worker, file *os.File, s setup, within time.Duration) (outcome, error) {
	if _, native := h.natives.Load(s.SHA256); !native && s.Judge == "" && !s.Interpret {
		info, err := file.Stat()
		if err != nil {
			return outcome{}, err
		}
		release, err := h.makeRoom(&s, info.Size())
		if err != nil {
			return outcome{}, err
		}
		defer release()
	}
	// It is there when it has said so: not before are its limits known.
	if result, err := w.await(ctx, budget{within, within}, nil); err != nil || result.Class != "" {
		return result, err
	}
	s.Data, s.Address = w.room(uint64(s.Memory))
	return w.call(ctx, s, []*os.File{file}, budget{within, within}, nil)
}

// childHeap is what the engine may take beside twice the linear memory: while
// it compiles, and while a memory that grows is copied. childReserve is what a
// Go program maps and does not use.
const (
	childHeap    = 192 << 20
	childReserve = 1 << 30 >> (4 - strconv.IntSize/16) // a quarter of it with 32 bits
)

// room returns the limits of private memory and address space. The kernel
// counts what the process has already.
func (w *worker) room(memory uint64) (data, address uint64) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", w.cmd.Process.Pid))
	var size, resident, shared, text, library uint64
	if err == nil {
		_, err = fmt.Sscan(string(statm), &size, &resident, &shared, &text, &library, &data)
	}
	if err != nil { // it has ended, as the caller will see
		size, data = 0, 0
	}
	page := uint64(os.Getpagesize())
	data = data*page + childHeap + raceHeap + 2*memory
	if raceHeap > 0 {
		return data, 0
	}
	return data, size*page + data + childReserve
}

// tellMissing logs once what does not confine the sandbox on this device.
func (h *Host) tellMissing(layers []cage.Missing) {
	for _, m := range layers {
		h.tellOnce(m, "the sandbox lacks a layer", "layer", m.Layer, "why", m.Why)
	}
}

// tellOnce logs a thing that was not logged before.
func (h *Host) tellOnce(thing any, text string, about ...any) {
	if _, told := h.told.LoadOrStore(thing, true); !told {
		h.log().Warn(text, about...)
	}
}

// self is this program, also when its file was replaced meanwhile.
var self = "/proc/self/exe"

// spawn starts a program as a sandbox, or as what name says.
func spawn(dir, program, name string) (*worker, error) {
	empty := filepath.Join(dir, emptyName)
	for _, dir := range []string{dir, filepath.Join(dir, compiledName), empty} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := private(dir); err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull) // now, since the thread of live will not be able to
	if err != nil {
		return nil, err
	}
	defer null.Close()
	conn, child, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer child.Close()
	w := &worker{conn: conn, stderr: &excerpt{limit: 16 << 10}, done: make(chan struct{})}
	w.cmd = &exec.Cmd{
		Path:        program,
		Args:        []string{name},
		Env:         []string{},
		Dir:         empty,
		Stdin:       null,
		Stdout:      null,
		Stderr:      w.stderr,
		ExtraFiles:  []*os.File{child},
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
		WaitDelay:   patience, // if it was taken over before it was confined, and has a child that holds stderr
	}
	started := make(chan error, 1)
	go w.live(dir, started)
	if err := <-started; err != nil {
		conn.Close()
		return nil, err
	}
	// Before any other process the system is to end this one.
	os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", w.cmd.Process.Pid), []byte("1000"), 0)
	return w, nil
}

// live is the process from start to end. It keeps a thread of its own: the
// child inherits that thread's cage, and Pdeathsig fires when it dies. Since
// the goroutine never unlocks it, the runtime then discards it.
func (w *worker) live(dir string, started chan<- error) {
	runtime.LockOSThread()
	defer close(w.done)
	var err error
	if w.missing, err = cage.Thread(w.cmd.Path, dir); err == nil {
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
	// An honest one takes each message before it answers, so there is always room.
	if err := w.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return outcome{}, err
	}
	if err := send(w.conn, message, files...); err != nil {
		switch {
		case errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET):
			return w.died(), nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return outcome{Class: Crash, Reason: "it answers what it was not asked"}, nil
		}
		return outcome{}, fmt.Errorf("cannot talk to the sandbox of transforms: %w", err)
	}
	return w.await(ctx, b, tick)
}

// await is call without the message.
func (w *worker) await(ctx context.Context, b budget, tick func()) (outcome, error) {
	deadline, cpu := time.Now().Add(b.wall), w.cpuTime()
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
		if err := w.conn.SetReadDeadline(time.Now().Add(min(tickEvery, time.Until(deadline)))); err != nil {
			return outcome{}, err
		}
		var result outcome
		files, err := receive(w.conn, &result)
		for _, f := range files { // nobody has asked for any
			f.Close()
		}
		switch {
		case err == nil:
			return result.tame(), nil
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
	lingering := time.AfterFunc(patience, func() { w.cmd.Process.Kill() })
	<-w.done
	lingering.Stop()
	text := w.stderr.String()
	status, _ := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case strings.Contains(text, "out of memory") || strings.Contains(text, "cannot allocate memory"):
		return outcome{Class: ResourceLimit, Reason: outOfMemory}
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return outcome{Class: ResourceLimit, Reason: "killed by the system, probably for want of memory"}
	}
	return outcome{Class: Crash, Reason: cmp.Or(firstLine(text), w.cmd.ProcessState.String())}
}

// lives reports whether the system has not ended it.
func (w *worker) lives() bool {
	select {
	case <-w.done:
		return false
	default:
		return true
	}
}

// close ends the sandbox, in whatever it does, and waits for its end.
func (w *worker) close() {
	w.conn.Close()
	w.cmd.Process.Kill() // an error means that it has ended already
	<-w.done
}
