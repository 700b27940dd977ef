package updatertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

const (
	v1, v2      = "1.0.0", "2.0.0"
	callTimeout = 30 * time.Second
)

// rigs numbers them, so that components of those that share an engine differ.
var rigs atomic.Int32

// A rig is one updater with directories of its own, and one component, "type/a"
// with a number, on which the methods below work.
type rig struct {
	testing.TB
	suite     Suite
	env       updater.Environment
	asProcess bool
	component string
	sum       string // checksum of the program
	u         *updater.Client
	opened    updater.Updater // in process
}

func newRig(t testing.TB, s Suite, asProcess bool) *rig {
	t.Helper()
	if s.Ready == 0 {
		s.Ready = 10 * time.Second
	}
	if s.Program == "" {
		s.Program = os.Args[0]
	}
	run, err := os.MkdirTemp("", "u") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatalf("cannot make a directory: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	r := &rig{TB: t, suite: s, asProcess: asProcess, component: fmt.Sprintf("%s/a%d", s.Type, rigs.Add(1))}
	r.env = updater.Environment{
		Data: t.TempDir(), Run: run, Link: filepath.Join(run, "link"),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if s.Boot != nil {
		s.Boot(r, r.env)
	}
	if asProcess {
		r.sum, err = checksum(s.Program)
		r.must("Checksum", err)
	}
	r.launch()
	t.Cleanup(r.tearDown)
	if got := r.u.Capabilities().Type; got != s.Type {
		r.Fatalf("the updater is for type %q, not %q", got, s.Type)
	}
	return r
}

// checksum is computed once for each program, which may be large.
var checksum = func() func(string) (string, error) {
	var mu sync.Mutex
	known := map[string]string{}
	return func(program string) (sum string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if known[program] == "" {
			known[program], err = updater.Checksum(program)
		}
		return known[program], err
	}
}()

// launch starts the updater, in either way.
func (r *rig) launch() {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	var err error
	if r.asProcess {
		r.u, err = updater.Launch(ctx, updater.LaunchConfig{
			Path: r.suite.Program, SHA256: r.sum, Env: r.suite.Env,
			Data: r.env.Data, Run: r.env.Run, Link: r.env.Link, Logger: r.env.Logger,
		})
		r.must("launch", err)
		return
	}
	r.opened, err = r.suite.Open(r.env)
	r.must("Open", err)
	r.u, err = updater.Connect(ctx, r.suite.Type, r.opened, r.env.Logger)
	r.must("connect", err)
}

// restart kills the updater with SIGKILL and launches it again.
func (r *rig) restart() {
	r.Helper()
	r.u.Kill()
	r.launch()
}

// reboot boots the device, whose updater ends with it.
func (r *rig) reboot() {
	r.Helper()
	r.end()
	r.suite.Boot(r, r.env)
	r.launch()
}

// end ends the updater, in either way.
func (r *rig) end() {
	r.u.Kill()
	if c, ok := r.opened.(interface{ Close() error }); ok {
		c.Close()
	}
}

// tearDown stops and removes whatever the check left: rigs may share an engine.
func (r *rig) tearDown() {
	if r.u == nil { // it could not be launched
		return
	}
	defer r.end()
	for _, c := range []string{r.component, r.other()} {
		r.call(func(ctx context.Context) error {
			_, err := r.u.Stop(ctx, updater.StopRequest{Component: c})
			if r.suite.Boot != nil {
				return err
			}
			return errors.Join(err, r.u.Switch(ctx, updater.SwitchRequest{Component: c}),
				r.u.Unstage(ctx, updater.UnstageRequest{Component: c, Version: v1}),
				r.u.Unstage(ctx, updater.UnstageRequest{Component: c, Version: v2}))
		})
	}
}

// other is a second component.
func (r *rig) other() string { return r.component + "b" }

func (r *rig) must(what string, err error) {
	r.Helper()
	if err != nil {
		r.Fatalf("%s: %v", what, err)
	}
}

// call calls with a generous deadline, and again after a boot that is asked for.
func (r *rig) call(f func(context.Context) error) error {
	r.Helper()
	err := r.once(f)
	if r.suite.Boot != nil && errors.Is(err, updater.ErrReboot) {
		r.reboot()
		err = r.once(f)
	}
	return err
}

func (r *rig) once(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return f(ctx)
}

func (r *rig) stageRequest(version string) updater.StageRequest {
	r.Helper()
	a := r.suite.Artifact(r, version)
	return updater.StageRequest{
		Component: r.component, Version: version,
		Artifact: a.Path, MediaType: a.MediaType, Settings: a.Settings,
	}
}

func (r *rig) stage(version string) (h updater.Handle) {
	r.Helper()
	request := r.stageRequest(version)
	r.must("Stage of "+version, r.call(func(ctx context.Context) error {
		a, err := r.u.Stage(ctx, request)
		h = a.Handle
		return err
	}))
	if h.IsZero() {
		r.Fatalf("Stage of %s returned a zero handle, which means that nothing is staged", version)
	}
	return h
}

func (r *rig) unstage(version string, h updater.Handle) {
	r.Helper()
	r.must("Unstage of "+version, r.call(func(ctx context.Context) error {
		return r.u.Unstage(ctx, updater.UnstageRequest{Component: r.component, Version: version, Handle: h})
	}))
}

func (r *rig) switchTo(h updater.Handle) {
	r.Helper()
	r.must("Switch", r.call(func(ctx context.Context) error {
		return r.u.Switch(ctx, updater.SwitchRequest{Component: r.component, Handle: h})
	}))
}

func (r *rig) start() {
	r.Helper()
	r.must("Start", r.call(func(ctx context.Context) error {
		return r.u.Start(ctx, updater.StartRequest{Component: r.component})
	}))
}

func (r *rig) stop() {
	r.Helper()
	r.must("Stop", r.call(func(ctx context.Context) error {
		_, err := r.u.Stop(ctx, updater.StopRequest{Component: r.component})
		return err
	}))
}

// install stages, switches to and starts a version.
func (r *rig) install(version string) updater.Handle {
	r.Helper()
	h := r.stage(version)
	r.switchTo(h)
	r.start()
	r.runs(version)
	return h
}

func (r *rig) running() string {
	if r.suite.Running != nil {
		return r.suite.Running(r, r.env, r.component)
	}
	a, err := r.u.Status(context.Background(), updater.StatusRequest{Component: r.component})
	if err != nil || !a.Running {
		return ""
	}
	return a.Version
}

// runs waits until a version is seen running.
func (r *rig) runs(version string) {
	r.Helper()
	var got string
	if !r.eventually(func() bool { got = r.running(); return got == version }) {
		r.Fatalf("%q runs after %v, want %q; the updater's probe says %s", got, r.suite.Ready, version, r.probed())
	}
}

// probed is what the updater itself says of the component.
func (r *rig) probed() (said string) {
	err := r.call(func(ctx context.Context) error {
		a, err := r.u.Probe(ctx, updater.ProbeRequest{Component: r.component})
		said = fmt.Sprintf("healthy: %v, %q", a.Healthy, a.Reason)
		return err
	})
	if err != nil {
		return err.Error()
	}
	return said
}

// rests checks that nothing runs, now, unless that takes a boot.
func (r *rig) rests(when string) {
	r.Helper()
	if r.suite.Boot != nil {
		return
	}
	if got := r.running(); got != "" {
		r.Errorf("%s runs %s", got, when)
	}
}

// eventually asks less and less often: to look for a process takes a while.
func (r *rig) eventually(holds func() bool) bool {
	pause := 2 * time.Millisecond
	for deadline := time.Now().Add(r.suite.Ready); !holds(); pause = min(2*pause, 50*time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}
