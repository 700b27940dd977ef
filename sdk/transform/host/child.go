package host

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/tranquil-iot/tranquil/sdk/transform/host/internal/cage"
)

// childName as argv[0] turns a program into the sandbox.
const childName = "tranquil-transform-sandbox"

// Names in the cache directory.
const (
	compiledName = "compiled" // modules; executable code
	emptyName    = "empty"    // nothing at all
)

// Main turns the process into the sandbox if a [Host] started it as such, and
// then never returns. Otherwise it does nothing. A program that uses a Host
// calls it before anything else.
//
// Modules with a digest ("sha256:…") in natives are not run: the code there
// takes their place, unless [Host.Wasm] says otherwise. It is for devices on which
// Wasm is slow. What natives has as [Integrity] judges results in sqlite, beyond
// what their format says.
func Main(natives map[string]Native) {
	if len(os.Args) == 0 || os.Args[0] != childName {
		return
	}
	if err := sandbox(natives); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// sandbox serves one host until that hangs up.
func sandbox(natives map[string]Native) error {
	conn, err := fileConn(os.NewFile(3, "host"))
	if err != nil {
		return fmt.Errorf("this is the sandbox of transforms, not to be started by hand: %w", err)
	}
	defer conn.Close()
	if err := send(conn, outcome{}); err != nil {
		return err
	}
	var s setup
	files, err := receive(conn, &s)
	if err != nil {
		return err
	}
	if len(files) != 1 {
		return errors.New("a setup without its module")
	}
	w, result, err := prepare(s, files[0], natives)
	if err != nil {
		return fmt.Errorf("cannot confine the sandbox: %w", err)
	}
	if err := send(conn, result); err != nil || result.Class != "" {
		return err
	}
	return serve(conn, w)
}

// prepare compiles the module with what that needs, and then gives up the
// rest: no code of the module has run by then.
func prepare(s setup, file *os.File, natives map[string]Native) (w work, result outcome, err error) {
	signal.Ignore(syscall.SIGXFSZ)
	err = cage.Limit(cage.Limits{CPU: uint64(s.CPU), Data: s.Data, Address: s.Address, Files: 32})
	if err != nil {
		return nil, outcome{}, err
	}
	cache, empty := filepath.Join(s.Dir, compiledName), filepath.Join(s.Dir, emptyName)
	if cage.Root(s.Dir) {
		cache, empty = "/"+compiledName, "/"+emptyName
	}
	if s.Judge != "" {
		w, result = newJudge(file, s.Judge, natives)
	} else if code := s.native(natives); code != nil {
		w, result.Native = &engine{native: code}, true
	} else {
		w, result = compile(s, file, cache)
	}
	file.Close()
	if result.Class != "" {
		return nil, result, nil
	}
	result.Missing, err = cage.Lock(empty)
	return w, result, err
}

// work is what a sandbox does with each job: it runs a module, or judges.
type work interface {
	run(j job, stdin io.Reader, stdout, stderr io.Writer) outcome
}

func serve(conn *net.UnixConn, w work) error {
	for {
		var j job
		files, err := receive(conn, &j)
		if err != nil {
			return err
		}
		if len(files) != 3 {
			return errors.New("a job without its three files")
		}
		result := perform(w, j, files)
		for _, f := range files {
			f.Close()
		}
		if err := send(conn, result); err != nil {
			return err
		}
	}
}

// perform runs one job under its limit of output.
func perform(w work, j job, files []*os.File) outcome {
	stdout := &limitedWriter{w: files[1], left: j.Output}
	result := w.run(j, files[0], stdout, files[2])
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
