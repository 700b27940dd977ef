package pluginhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/sdk/updater"
	"github.com/tranquil-iot/tranquil/sdk/updater/updatertest"
)

// The test binary is also the updater. The file "mode" in its data directory,
// which is its working directory, says how it misbehaves.
func TestMain(m *testing.M) {
	if updater.Launched() {
		updaterMain()
	}
	goleak.VerifyTestMain(m)
}

func updaterMain() {
	mode, _ := os.ReadFile("mode")
	switch string(mode) {
	case "garbage":
		fmt.Println("no handshake")
		os.Exit(0)
	case "misbehaves":
		updatertest.Misbehave("application")
	case "other type":
		updater.Main("firmware", open)
	}
	updater.Main("application", open)
}

func open(env updater.Environment) (updater.Updater, error) {
	f, err := os.OpenFile(filepath.Join(env.Data, "starts"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(f, os.Getpid())
	return &fake{}, f.Close()
}

// fake dies in Stop and never ends in Start; everything else is not called.
type fake struct{ updater.Updater }

func (*fake) Stop(context.Context, updater.StopRequest) (updater.StopResponse, error) {
	os.Exit(1)
	return updater.StopResponse{}, nil
}

func (*fake) Start(context.Context, updater.StartRequest) error { select {} }

func (*fake) Switch(context.Context, updater.SwitchRequest) error { return nil }

// rig is a host for type "application" whose updater is in a mode.
type rig struct {
	*Host
	data string // of the updater
	log  *logBook
}

// A logBook is what the host has logged.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newRig(t *testing.T, mode string, change func(*Config)) rig {
	t.Helper()
	run, err := os.MkdirTemp("", "u") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	sum, err := updater.Checksum(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Type: "application", Path: os.Args[0], SHA256: sum}
	if change != nil {
		change(&c)
	}
	r := rig{log: new(logBook)}
	o := Options{Data: t.TempDir(), Run: run, Logger: slog.New(slog.NewTextHandler(r.log, nil))}
	r.data = filepath.Join(o.Data, c.Type)
	if err := os.Mkdir(r.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.data, "mode"), []byte(mode), 0o600); err != nil {
		t.Fatal(err)
	}
	if r.Host, err = New([]Config{c}, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func (r rig) starts() int {
	pids, _ := os.ReadFile(filepath.Join(r.data, "starts"))
	return strings.Count(string(pids), "\n")
}

func (r rig) updater(t *testing.T) *updater.Client {
	t.Helper()
	u, err := r.Updater(t.Context(), "application")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// die makes the updater die in a call.
func (r rig) die(t *testing.T) {
	t.Helper()
	u := r.updater(t)
	if _, err := u.Stop(t.Context(), updater.StopRequest{}); !errors.Is(err, updater.ErrRetry) {
		t.Fatalf("call in which the updater died: %v", err)
	}
	<-u.Exited()
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestOneProcessPerType(t *testing.T) {
	r := newRig(t, "", nil)
	if r.starts() != 0 {
		t.Error("started before it was needed")
	}
	got := make(chan *updater.Client, 4)
	for range cap(got) {
		go func() {
			u, err := r.Updater(t.Context(), "application")
			if err != nil {
				t.Error(err)
			}
			got <- u
		}()
	}
	first := <-got
	for range cap(got) - 1 {
		if <-got != first {
			t.Error("got another updater")
		}
	}
	if n := r.starts(); n != 1 {
		t.Errorf("%d processes", n)
	}
}

func TestDiedUpdaterIsReplaced(t *testing.T) {
	r := newRig(t, "", nil)
	r.die(t)
	if err := r.updater(t).Switch(t.Context(), updater.SwitchRequest{}); err != nil {
		t.Errorf("call on the fresh updater: %v", err)
	}
	r.die(t)
	eventually(t, "started again without being asked for", func() bool { return r.starts() == 3 })
}

func TestHungUpdaterIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, "", nil)
	eventually(t, "a fresh process instead of the one that hangs", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		err := r.updater(t).Start(ctx, updater.StartRequest{Component: "application/x"})
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, updater.ErrRetry) {
			t.Fatalf("call that hangs: %v", err)
		}
		return r.starts() >= 2
	})
}

// A frozen process cannot end by itself, and closes nothing.
func TestFrozenUpdaterIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, "", func(c *Config) { c.Answer = time.Second })
	u := r.updater(t)
	failed := make(chan error)
	go func() { failed <- u.Start(t.Context(), updater.StartRequest{Component: "application/x"}) }()
	pids, _ := os.ReadFile(filepath.Join(r.data, "starts"))
	var pid int
	fmt.Sscan(string(pids), &pid)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, updater.ErrRetry) {
		t.Errorf("call on the frozen updater: %v", err)
	}
	eventually(t, "a fresh process instead of the frozen one", func() bool { return r.starts() == 2 })
}

// TestMisbehaving: whatever an updater does in a call, the call ends and says what
// it was, and the next one finds an updater that works.
func TestMisbehaving(t *testing.T) {
	for name, text := range map[string]string{
		"hangs":   "", // one of several ends of a call
		"freezes": "the updater was killed: it gave no sign of life for 1s",
		"dies":    "the updater process has died",
		"panics":  "panic in the updater's Stage: out of itself",
		"floods":  "it has flooded its log",
		"leaks":   "the updater was killed: it has ",
		"opens":   " files open, and may have 200",
		"babbles": "bla bla",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "misbehaves", func(c *Config) {
				c.Memory, c.Files = 200<<20, 200
				if name == "freezes" {
					c.Answer = time.Second
				}
			})
			limit, begin := 5*time.Minute, time.Now()
			if name == "hangs" {
				limit = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := r.updater(t).Stage(ctx, updater.StageRequest{Component: "application/" + name})
			if err == nil || !strings.Contains(err.Error(), text) || len(err.Error()) > 5<<10 {
				t.Errorf("error %.300v, want one with %q", err, text)
			}
			eventually(t, "an updater that works", func() bool {
				u, err := r.Updater(t.Context(), "application")
				if err == nil {
					_, err = u.Stage(t.Context(), updater.StageRequest{Component: "application/decent"})
				}
				return err == nil
			})
			log := r.log.String()
			if most := 2<<20 + int(time.Since(begin).Seconds()*(64<<10)); len(log) > most { // it may write as long as it likes, but slowly
				t.Errorf("it has %d bytes of the log, more than %d", len(log), most)
			}
			if strings.Contains(text, "killed") && !strings.Contains(log, "and is killed") {
				t.Errorf("nobody is told that it was killed:\n%s", log)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		name, mode string
		change     func(*Config)
		text       string
		retry      bool
	}{
		{"checksum", "", func(c *Config) { c.SHA256 = "00" }, "checksum is not the pinned one", false},
		{"missing", "", func(c *Config) { c.Path += "-missing" }, "no such file", false},
		{"other type", "other type", nil, `it is for type "firmware"`, false},
		{"garbage", "garbage", nil, "no handshake", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.mode, tc.change)
			u, err := r.Updater(t.Context(), "application")
			if u != nil || err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("updater %v, error %v, want %q", u, err, tc.text)
			}
			if errors.Is(err, updater.ErrRetry) != tc.retry {
				t.Errorf("retry is %t: %v", !tc.retry, err)
			}
		})
	}
}

func TestUnknownType(t *testing.T) {
	_, err := newRig(t, "", nil).Updater(t.Context(), "container")
	if err == nil || !strings.Contains(err.Error(), `"container", only for: application`) {
		t.Errorf("error %v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, configs := range [][]Config{
		{{Type: "../x"}}, {{Type: ""}}, {{Type: "a"}, {Type: "a"}},
	} {
		if _, err := New(configs, Options{}); err == nil {
			t.Errorf("accepted %v", configs)
		}
	}
}

func TestPause(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		0: 0, 1: 0, 2: 100 * time.Millisecond, 3: 200 * time.Millisecond, 12: maxPause, 1e6: maxPause,
	} {
		if got := pauseAfter(failures); got != want {
			t.Errorf("after %d failures %v, want %v", failures, got, want)
		}
	}
	r := newRig(t, "", nil)
	s := r.slots["application"]
	s.failures, s.last = 20, errors.New("it sulks")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := r.Updater(ctx, "application")
	if !errors.Is(err, updater.ErrRetry) || !strings.Contains(err.Error(), "20 times in a row, last: it sulks") {
		t.Errorf("in the pause: %v", err)
	}
}

func TestClose(t *testing.T) {
	r := newRig(t, "", nil)
	u := r.updater(t)
	r.Close()
	r.Close()
	select {
	case <-u.Exited():
	default:
		t.Error("runs after Close")
	}
	if u, err := r.Updater(t.Context(), "application"); err == nil {
		t.Errorf("got %v after Close", u)
	}
}
