package exec

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/updater"
	"github.com/tranquil-iot/tranquil/sdk/updater/updatertest"
)

// The test binary is everything: the tests, the updater when the kit launches
// it, the supervisors, and the components. They end by syscall.Exit, since
// the race detector lets os.Exit take a second.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == service.SuperviseArg {
		if os.Remove(filepath.Join(os.Args[2], killed)) == nil {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		syscall.Exit(supervisor.Run(os.Args[2]))
	}
	if role := os.Getenv("ROLE"); role != "" {
		roles[role]()
		syscall.Exit(0)
	}
	if updater.Launched() {
		updater.Main(Type, open)
	}
	os.Exit(test(m))
}

// plain is the test binary for all those processes.
var plain string

// test runs the tests with a directory of their own for temporary files.
func test(m *testing.M) int {
	dir, err := os.MkdirTemp("", "exec")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if plain, err = updatertest.Plain(dir); err != nil {
		panic(err)
	}
	supervisor.Program = plain
	os.Setenv("TMPDIR", dir)
	code := m.Run()
	if left := survivors(dir); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "processes survived the tests:", left)
		code = 1
	}
	return code
}

// open makes an updater that finds the systemd of [newMachine], if there is one.
func open(env updater.Environment) (updater.Updater, error) {
	return Driver{Systemd: managerIn(os.Getenv(systemdVariable))}.Open(env)
}

// survivors lists the other processes of this binary, and those of binaries in dir.
func survivors(dir string) (found []string) {
	self, _ := os.Readlink("/proc/self/exe")
	for _, process := range glob("/proc/[0-9]*") {
		pid := filepath.Base(process)
		target, err := os.Readlink(process + "/exe")
		if err == nil && (target == self || strings.HasPrefix(target, dir+"/")) && pid != strconv.Itoa(os.Getpid()) && !zombie(pid) {
			command, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			found = append(found, pid+": "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return found
}

func glob(pattern string) []string {
	names, _ := filepath.Glob(pattern)
	return names
}

func zombie(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	_, rest, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(rest, "Z")
}

// roles are the components that the tests run.
var roles = map[string]func(){
	"sleep":    sleeper,
	"served":   served,
	"handover": handover,
	"crash":    func() { fmt.Println("about to crash"); syscall.Exit(3) },
	"stubborn": stubborn,
	"healthy":  func() { os.WriteFile("healthy", nil, 0o600); sleeper() },
	"appender": appender,
}

func untilTerm() context.Context {
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	return ctx
}

func sleeper() { <-untilTerm().Done() }

// stubborn ignores SIGTERM, and so does its child, in a session of its own.
func stubborn() {
	signal.Ignore(syscall.SIGTERM)
	child := os.Getenv("CHILD")
	if child == "" {
		os.Setenv("CHILD", "1")
		os.StartProcess("/proc/self/exe", []string{"child"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}, Env: os.Environ()})
	}
	os.WriteFile(filepath.Join(component.StateDir(""), "pid"+child), []byte(strconv.Itoa(os.Getpid())), 0o600)
	time.Sleep(time.Hour)
}

// appender writes its state in place.
func appender() {
	file, err := os.OpenFile(filepath.Join(component.StateDir(""), "log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		os.Exit(1)
	}
	fmt.Fprint(file, component.Version(), "\n")
	file.Close()
	os.WriteFile("healthy", nil, 0o600)
	sleeper()
}

// served answers on its control socket, and notes in its state what it was
// asked.
func served() {
	note := func(what string) func(context.Context) error {
		return func(context.Context) error {
			return os.WriteFile(filepath.Join(component.StateDir(""), what), nil, 0o600)
		}
	}
	component.Serve(untilTerm(), component.Handler{
		Quiesce: note("quiesced"), Resume: note("resumed"),
		Health: func(context.Context) error {
			if _, err := os.Stat(filepath.Join(component.StateDir(""), "sick")); err == nil {
				return fmt.Errorf("I am sick")
			}
			return nil
		},
	})
}

// handover keeps its state in memory: what it was given, with its version
// added to the history.
func handover() {
	files := map[string][]byte{}
	component.Serve(untilTerm(), component.Handler{
		Apply: func(_ context.Context, dir string) error {
			for _, path := range glob(filepath.Join(dir, "*")) {
				files[filepath.Base(path)], _ = os.ReadFile(path)
			}
			return nil
		},
		Save: func(_ context.Context, dir string) error {
			if _, err := os.Stat("mute"); err == nil {
				return fmt.Errorf("no")
			}
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	})
}
