package host

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// childName as argv[0] turns a program into the sandbox.
const childName = "tranquil-transform-sandbox"

// childHeap is what the engine may take beside twice the linear memory: while
// it compiles, and while a memory that grows is copied.
const childHeap = 192 << 20

// Main turns the process into the sandbox if a [Host] started it as such, and
// then never returns. Otherwise it does nothing. A program that uses a Host
// calls it before anything else.
func Main() {
	if len(os.Args) == 0 || os.Args[0] != childName {
		return
	}
	if err := sandbox(); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// sandbox serves one host until that hangs up.
func sandbox() error {
	conn, err := fileConn(os.NewFile(3, "host"))
	if err != nil {
		return fmt.Errorf("this is the sandbox of transforms, not to be started by hand: %w", err)
	}
	defer conn.Close()
	var s setup
	if _, err := receive(conn, &s); err != nil {
		return err
	}
	if err := confine(s); err != nil {
		return fmt.Errorf("cannot confine the sandbox: %w", err)
	}
	e, result := compile(s)
	if err := send(conn, result); err != nil || result.Class != "" {
		return err
	}
	return serve(conn, e)
}

func serve(conn *net.UnixConn, e *engine) error {
	for {
		var j job
		files, err := receive(conn, &j)
		if err != nil {
			return err
		}
		if len(files) != 3 {
			return errors.New("a job without its three files")
		}
		result := perform(e, j, files)
		for _, f := range files {
			f.Close()
		}
		if err := send(conn, result); err != nil {
			return err
		}
	}
}

// perform runs one job under its limit of output.
func perform(e *engine, j job, files []*os.File) outcome {
	if err := limitFile(j.Output); err != nil {
		return outcome{Class: Crash, Reason: err.Error()}
	}
	stdout := &limitedWriter{w: files[1], left: j.Output}
	result := e.run(j, files[0], stdout, files[2])
	if stdout.exceeded {
		return outcome{Class: OutputLimit, Reason: tooMuch(j.Output), Memory: result.Memory}
	}
	if stdout.err != nil {
		return outcome{Class: ResourceLimit, Reason: "cannot write the result: " + stdout.err.Error()}
	}
	return result
}

// errStop ends a module from inside the write it has called.
var errStop = errors.New("the result cannot be written")

// limitedWriter ends the module when its result is too long or cannot be
// written: it may well ignore errors, and go on for ever.
type limitedWriter struct {
	w        io.Writer
	left     int64
	exceeded bool
	err      error
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.exceeded || int64(len(p)) > l.left {
		l.exceeded = true
		panic(errStop)
	}
	n, err := l.w.Write(p)
	l.left -= int64(n)
	if err != nil {
		l.err = err
		panic(errStop)
	}
	return n, nil
}

// confine gives up what the sandbox does not need. The host has already set
// no_new_privs, an empty environment, an empty working directory and the
// signal that follows the host's death.
func confine(s setup) error {
	signal.Ignore(syscall.SIGXFSZ)
	// Unprivileged processes may raise the score; where /proc is missing it
	// does not matter.
	os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	data, err := dataSize()
	if err != nil {
		return err
	}
	data += childHeap + raceHeap + 2*uint64(s.Memory)
	for _, l := range []struct {
		resource int
		value    uint64
	}{
		{syscall.RLIMIT_DATA, data},
		{syscall.RLIMIT_CPU, uint64(s.CPU)},
		{syscall.RLIMIT_NOFILE, 32},
		{syscall.RLIMIT_CORE, 0},
	} {
		if err := syscall.Setrlimit(l.resource, &syscall.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return err
		}
	}
	return nil
}

// dataSize returns the private memory the process has already, which RLIMIT_DATA counts.
func dataSize() (uint64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 6 {
		return 0, errors.New("unreadable /proc/self/statm")
	}
	pages, err := strconv.ParseUint(fields[5], 10, 64)
	return pages * uint64(os.Getpagesize()), err
}

// limitFile lets the kernel refuse what limitedWriter would have to miss.
func limitFile(bytes int64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = min(uint64(bytes), limit.Max)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
}
