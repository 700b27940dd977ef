package service

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

const (
	probeTimeout = 5 * time.Second
	// settled is how long a component that crashed must run before it can
	// count as well again.
	settled = 2 * time.Second
)

// Probe looks whether the component runs and then asks it in the way that its
// settings say.
func (u *Updater) Probe(ctx context.Context, r updater.ProbeRequest) (updater.ProbeResponse, error) {
	h, err := u.Home(r.Component)
	if err != nil {
		return updater.ProbeResponse{}, err
	}
	now, runs, err := h.supervised(ctx)
	if err != nil {
		return updater.ProbeResponse{}, fmt.Errorf("cannot probe %s: %w", r.Component, err)
	}
	err = h.crashed(now, runs)
	if err == nil {
		err = h.probe(ctx, now)
	}
	if ctx.Err() != nil {
		return updater.ProbeResponse{}, fmt.Errorf("cannot probe %s: %w", r.Component, ctx.Err())
	}
	if err != nil {
		return updater.ProbeResponse{Reason: err.Error()}, nil
	}
	return updater.ProbeResponse{Healthy: true}, nil
}

func (h Home) crashed(now supervisor.Status, runs bool) error {
	switch {
	case !runs:
		return errors.New("it does not run")
	case now.State != supervisor.Running:
		return h.withLog(fmt.Errorf("it is %s: %s", now.State, now.Last))
	case now.Restarts > 0 && now.For() < settled:
		return h.withLog(fmt.Errorf("it crashed %d times, at last: %s", now.Restarts, now.Last))
	}
	return nil
}

// probe returns why the running component is not well.
func (h Home) probe(ctx context.Context, now supervisor.Status) error {
	v, err := h.version(now.Spec.Version)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if f, can := h.driver.(Freezer); can {
		if up, err := f.Up(ctx, h); err != nil || !up {
			return cmp.Or(err, errors.New("it is about to run"))
		}
	}
	return h.driver.Probe(ctx, h, v, now.Spec)
}

// Run runs a program that tells whether a component is well, and kills it with
// all that it started when the time is over. What it printed last is in the
// error.
func Run(ctx context.Context, dir string, env, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var output tail
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success() { // something that it has started prints still
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(output))
	}
	return nil
}

// A tail keeps the end of what is written to it, however much that is.
type tail []byte

const tailSize = 512 // bytes

func (t *tail) Write(b []byte) (int, error) {
	*t = append(*t, b[max(0, len(b)-tailSize):]...)
	*t = (*t)[max(0, len(*t)-tailSize):]
	return len(b), nil
}

// Quiesce asks the component to come to tranquillity. One that does not run or
// does not serve the request has nothing to end; it is suspended if that can be.
func (u *Updater) Quiesce(ctx context.Context, r updater.QuiesceRequest) error {
	return u.tell(ctx, r.Component, "quiesce", Home.quiesce)
}

// Resume lets the component go on.
func (u *Updater) Resume(ctx context.Context, r updater.ResumeRequest) error {
	return u.tell(ctx, r.Component, "resume", Home.resume)
}

func (u *Updater) tell(ctx context.Context, component, what string, request func(Home, context.Context, string) error) error {
	h, err := u.Home(component)
	if err != nil {
		return err
	}
	now, runs, err := h.supervised(ctx)
	if err == nil && runs {
		err = request(h, ctx, now.Spec.Control)
	}
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", what, component, err)
	}
	return nil
}

func (h Home) quiesce(ctx context.Context, socket string) error {
	freezer, can := h.driver.(Freezer)
	if can && freezer.Frozen(h) {
		return nil // it would not answer
	}
	err := quiesce(ctx, socket)
	if can && errors.Is(err, errors.ErrUnsupported) {
		return freezer.Freeze(ctx, h)
	}
	return err
}

func (h Home) resume(ctx context.Context, socket string) error {
	if freezer, can := h.driver.(Freezer); can && freezer.Frozen(h) {
		return freezer.Thaw(h)
	}
	err := ask(ctx, socket, component.PathResume, "")
	if errors.Is(err, errNotListening) || errors.Is(err, errNotServed) {
		return nil // it was not asked to come to rest either
	}
	return err
}

// quiesce says so if there is nobody to ask.
func quiesce(ctx context.Context, socket string) error {
	err := ask(ctx, socket, component.PathQuiesce, "")
	if errors.Is(err, errNotListening) {
		return fmt.Errorf("it serves no control socket: %w", errors.ErrUnsupported)
	}
	if errors.Is(err, errNotServed) {
		return fmt.Errorf("it serves its control socket, but no request to come to rest: %w", errors.ErrUnsupported)
	}
	return err
}
