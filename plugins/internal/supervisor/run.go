package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	reportFD     = 3 // where Start waits to hear that the process was spawned
	lockFD       = 4 // the lock, held as long as this process lives
	pauseFirst   = 100 * time.Millisecond
	pauseMax     = 30 * time.Second
	steady       = time.Minute // after running so long, a crash is the first again
	clearTimeout = 10 * time.Second
	tellAgain    = 500 * time.Millisecond
	ownLogSize   = 256 << 10
)

// A supervisor is the state of the process that Run runs in.
type supervisor struct {
	dir    string
	status Status
	log    *slog.Logger
	output *os.File       // what the process prints goes in here
	child  chan os.Signal // SIGCHLD
	asked  chan os.Signal // SIGTERM and SIGQUIT

	pid      int  // of the supervised process, 0 if it does not run
	untold   bool // the status could not be written
	stopping bool // no more restarts
	force    bool // no more politeness
}

// Run is the whole life of a supervisor process; dir is the one that Start
// was called with. It returns the exit code.
func Run(dir string) int {
	// The kernel kills the process when the thread that spawned it ends: so
	// this one must not, and only it spawns.
	runtime.LockOSThread()
	report := os.NewFile(reportFD, "report")
	syscall.CloseOnExec(reportFD)
	syscall.CloseOnExec(lockFD)
	own := &logFile{path: Log(dir), size: ownLogSize, keep: 1}
	s := &supervisor{dir: dir, log: slog.New(slog.NewTextHandler(own, nil))}
	err := s.run(func(err error) { answerStart(report, err) })
	if err != nil {
		s.log.Error("supervisor ends", "error", err)
		return 1
	}
	return 0
}

// answerStart tells Start what became of it, once; Start may be gone.
func answerStart(report *os.File, err error) {
	var text string
	if err != nil {
		text = err.Error()
	}
	json.NewEncoder(report).Encode(text)
	report.Close()
}

func (s *supervisor) run(report func(error)) error {
	finish, err := s.prepare()
	if err == nil {
		defer finish()
		err = s.spawn()
	}
	report(err)
	if err != nil {
		return err
	}
	s.supervise()
	return nil
}

// prepare does all that comes before the first spawn.
func (s *supervisor) prepare() (finish func(), err error) {
	if err := checkLock(s.dir); err != nil {
		return nil, err
	}
	if s.status.Spec, err = readSpec(s.dir); err != nil {
		return nil, err
	}
	s.listen()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("cannot become subreaper: %w", err)
	}
	if err := s.identify(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), clearTimeout)
	defer cancel()
	if found, err := KillMarked(ctx, s.status.Spec.Mark); err != nil {
		return nil, err
	} else if found {
		s.log.Warn("ended what a killed supervisor had left")
	}
	return s.openOutput()
}

func (s *supervisor) listen() {
	s.child, s.asked = make(chan os.Signal, 1), make(chan os.Signal, 8)
	signal.Notify(s.child, syscall.SIGCHLD)
	// SIGHUP and SIGINT are caught and not ignored, since the process would
	// inherit that it is ignored.
	signal.Notify(s.asked, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGINT)
}

// identify writes the status by which Find recognises this process.
func (s *supervisor) identify() error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	self, err := readStat(os.Getpid())
	if err != nil {
		return err
	}
	s.status.Boot, s.status.PID, s.status.Begun = boot, os.Getpid(), self.begun
	s.status.State, s.status.Since, s.status.At = Starting, time.Now(), SinceBoot()
	return writeJSON(statusPath(s.dir), s.status)
}

// openOutput makes the pipe that all generations of the process print to, and
// returns what waits until all of it is in the log.
func (s *supervisor) openOutput() (finish func(), err error) {
	spec := s.status.Spec
	if err := os.MkdirAll(filepath.Dir(spec.Log), 0o700); err != nil {
		return nil, err
	}
	var ends [2]int
	// Not os.Pipe, whose ends do not block: the process may not expect that.
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return nil, err
	}
	from := os.NewFile(uintptr(ends[0]), "output")
	s.output = os.NewFile(uintptr(ends[1]), "output")
	file := &logFile{path: spec.Log, size: spec.LogSize, keep: spec.LogKeep}
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(file, from)
		file.Close()
	}()
	return func() { s.output.Close(); <-done }, nil
}

// supervise restarts the process until it is asked to end.
func (s *supervisor) supervise() {
	pause := pauseFirst
	for {
		ran := time.Now()
		s.watch()
		s.clear()
		if time.Since(ran) > steady {
			pause = pauseFirst
		}
		if s.stopping || s.rest(pause) {
			s.log.Info("ended as asked", "last", s.status.Last)
			return
		}
		pause = min(2*pause, pauseMax)
		s.status.Restarts++
		if err := s.spawn(); err != nil {
			s.status.Last = err.Error()
			s.log.Error("cannot restart", "error", err)
		}
	}
}

// tell publishes a new state.
func (s *supervisor) tell(state string) {
	s.status.State, s.status.Process, s.status.Since, s.status.At = state, s.pid, time.Now(), SinceBoot()
	s.publish()
}

// publish writes the status. That it cannot be written is no reason to end
// what runs; it is tried again, since nobody would believe that it runs.
func (s *supervisor) publish() {
	err := writeJSON(statusPath(s.dir), s.status)
	if err != nil {
		s.log.Error("cannot write status", "error", err)
	}
	s.untold = err != nil
}
