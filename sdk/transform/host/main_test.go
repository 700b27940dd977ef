package host

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// raced says that the race detector slows these tests down, not the sandbox.
var raced bool

// modules is where the test modules lie, cache what all tests share.
var modules, cache string

func TestMain(m *testing.M) {
	if self, err := os.Executable(); err == nil {
		if act := impostors[filepath.Base(self)]; act != nil {
			if c, err := net.FileConn(os.NewFile(3, "host")); err == nil {
				act(c.(*net.UnixConn))
			}
			time.Sleep(time.Minute)
			return
		}
	}
	Main(nil)
	if len(os.Args) == 4 && os.Args[1] == "run-for-ever" {
		runForEver(os.Args[2], os.Args[3])
	}
	if len(os.Args) == 2 && os.Args[1] == "end-at-once" {
		return
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "transform-host-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	modules, cache = dir, filepath.Join(dir, "cache")
	if elsewhere := os.Getenv("TRANQUIL_MODULES"); elsewhere != "" { // built before, where there is a Go
		modules = elsewhere
		spareSandboxes()
		return m.Run()
	}
	for _, name := range []string{"subject", "opener"} {
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, name), "./testdata/"+name)
		build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=-buildvcs=false")
		if out, err := build.CombinedOutput(); err != nil {
			log.Fatalf("cannot build %s: %v\n%s", name, err, out)
		}
	}
	os.Setenv("TRANQUIL_MODULES", dir) // for the workers of a fuzzing process, whose time is short
	if raceHeap > 0 {
		build := exec.Command("go", "build", "-ldflags=-s -w", "-o", built("sandbox"), "./sandbox")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			log.Fatalf("cannot build the sandbox: %v\n%s", err, out)
		}
	}
	spareSandboxes()
	code := m.Run()
	if err := goleak.Find(); err != nil {
		log.Print(err)
		code = 1
	}
	return code
}

// spareSandboxes has them run without the race detector, which slows them down,
// if there is a program for that among the modules.
func spareSandboxes() {
	if _, err := os.Stat(built("sandbox")); err == nil && raceHeap > 0 {
		raced, self, raceHeap = true, built("sandbox"), 0
	}
}

// runForEver is the process that TestParentDies kills.
func runForEver(dir, module string) {
	modules = os.Getenv("TRANQUIL_MODULES")
	spareSandboxes()
	h := &Host{Cache: filepath.Join(dir, "cache")}
	in := filepath.Join(dir, "in")
	_, err := h.Run(context.Background(), []Step{{Module: module, From: 1, To: 2}}, in, filepath.Join(dir, "out"), nil)
	fmt.Println(err)
	os.Exit(1)
}

func built(name string) string { return filepath.Join(modules, name) }

// write makes a directory of files and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read returns the files of a directory.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// runOne applies one step to a state of one file, "f".
func runOne(t *testing.T, h *Host, step Step, content string) (string, Report, error) {
	t.Helper()
	step.From, step.To = 1, 2
	out := filepath.Join(t.TempDir(), "out")
	report, err := h.Run(t.Context(), []Step{step}, write(t, map[string]string{"f": content}), out, nil)
	if err != nil {
		for _, leftover := range []string{out, out + ".work"} {
			if _, err := os.Stat(leftover); !os.IsNotExist(err) {
				t.Errorf("%s was left behind", filepath.Base(leftover))
			}
		}
		return "", report, err
	}
	return read(t, out)["f"], report, nil
}

// failed returns what went wrong as *Error.
func failed(t *testing.T, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got the error %v, want an *Error", err)
	}
	return e
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
