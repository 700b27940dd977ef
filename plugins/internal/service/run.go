package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Start hands the component its state and starts a supervisor for it.
func (u *Updater) Start(ctx context.Context, r updater.StartRequest) error {
	h, done, err := u.work(ctx, r.Component)
	if err != nil {
		return err
	}
	defer done()
	if err := h.start(ctx); err != nil {
		return fmt.Errorf("cannot start %s: %w", r.Component, err)
	}
	return nil
}

func (h Home) start(ctx context.Context) error {
	if err := h.endCommands(ctx); err != nil {
		return err
	}
	v, ok, err := h.current()
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("it is not installed: stage a version and switch to it first")
	}
	now, runs, err := h.supervised(ctx)
	if err != nil {
		return err
	}
	if runs && now.Spec.Version == v.ID && now.State != supervisor.Stopping {
		return errors.Join(removeAll(h.saved()), h.handOver(ctx, v, now.Spec.Control), disk.SyncNames(h.Dir))
	}
	if runs {
		_, err = h.end(ctx, v.Traits.Grace)
	} else {
		_, err = h.sweep(ctx)
	}
	if err != nil {
		return err
	}
	h.beginLog()
	if err := h.takeOver(ctx, v); err != nil {
		return err
	}
	spec, err := h.spec(v)
	if err != nil {
		return err
	}
	if err := h.applyBefore(ctx, v); err != nil {
		return err
	}
	err = h.runner().Start(ctx, h, v, spec)
	if errors.Is(err, supervisor.ErrEnded) {
		err = fmt.Errorf("%w: %w", updater.ErrRetry, err)
	}
	if err != nil {
		return h.withLog(err)
	}
	// What takeOver has renamed, now that the component does not wait for it.
	return errors.Join(h.handOver(ctx, v, spec.Control), disk.SyncNames(h.Dir), h.discardOld())
}

// supervised returns how the component runs, if it does.
func (h Home) supervised(ctx context.Context) (status supervisor.Status, runs bool, err error) {
	return h.runner().Find(ctx, h)
}

// spec says how to run v.
func (h Home) spec(v Version) (supervisor.Spec, error) {
	spec, err := h.driver.Spec(h, v)
	spec.Version, spec.Control = v.ID, cmp.Or(spec.Control, h.Control)
	spec.Mark, spec.Env = h.mark(), append(spec.Env, h.mark())
	spec.Fresh, spec.Needs = append(spec.Fresh, spec.Control), []string{h.State()}
	spec.Log, spec.LogSize, spec.LogKeep = h.logFile(), logSize, logKeep
	return spec, err
}

// Stop asks a component with handover for its state, then ends all of it.
func (u *Updater) Stop(ctx context.Context, r updater.StopRequest) (updater.StopResponse, error) {
	h, done, err := u.work(ctx, r.Component)
	if err != nil {
		return updater.StopResponse{}, err
	}
	defer done()
	forced, err := u.stop(ctx, h, r.Grace)
	if err != nil {
		return updater.StopResponse{}, fmt.Errorf("cannot stop %s: %w", r.Component, err)
	}
	if forced {
		u.log.Warn("component was stopped by force", "component", r.Component)
	}
	return updater.StopResponse{Forced: forced}, nil
}

func (u *Updater) stop(ctx context.Context, h Home, grace time.Duration) (forced bool, err error) {
	if err := h.endCommands(ctx); err != nil {
		return false, err
	}
	now, runs, err := h.supervised(ctx)
	if err != nil {
		return false, err
	}
	var v Version
	if runs {
		// The running version may be gone if somebody else removed it; it
		// can be stopped without its settings.
		v, _ = h.version(now.Spec.Version)
	}
	grace = cmp.Or(grace, v.Traits.Grace, DefaultGrace)
	if runs && v.Traits.beforeEnd() {
		if err := h.collect(ctx, v, now.Spec.Control, grace); err != nil {
			u.log.Warn("component does not hand over its state", "component", h.Component, "cause", err)
		}
	}
	forced, err = h.end(ctx, grace)
	if err != nil {
		return forced, err
	}
	return forced, h.promote()
}

// end ends all of the component, also what a killed supervisor has left.
func (h Home) end(ctx context.Context, grace time.Duration) (forced bool, err error) {
	var asked func() error
	if f, can := h.driver.(Freezer); can {
		asked = func() error { return f.Thaw(h) } // what is frozen does not end
		if err := h.awaitUp(ctx, f, grace); err != nil {
			return false, err
		}
	}
	if forced, err = h.runner().Stop(ctx, h, grace, asked); err != nil {
		return forced, err
	}
	found, err := h.sweep(ctx)
	return forced || found, err
}

func (h Home) sweep(ctx context.Context) (found bool, err error) {
	s, can := h.driver.(Sweeper)
	if !can {
		return false, nil
	}
	return s.Sweep(ctx, h)
}

// awaitUp waits until a container that is about to run does: before, it cannot
// be asked to end.
func (h Home) awaitUp(ctx context.Context, f Freezer, limit time.Duration) error {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		now, runs, err := h.supervised(ctx)
		if err != nil || !runs || now.State != supervisor.Running {
			return err
		}
		if up, err := f.Up(ctx, h); err != nil || up { // who cannot be asked must end all the same
			return ctx.Err()
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Status tells what is switched to and whether it runs.
func (u *Updater) Status(ctx context.Context, r updater.StatusRequest) (updater.StatusResponse, error) {
	h, err := u.Home(r.Component)
	if err != nil {
		return updater.StatusResponse{}, err
	}
	v, installed, err := h.current()
	if err != nil {
		return updater.StatusResponse{}, fmt.Errorf("cannot tell the status of %s: %w", r.Component, err)
	}
	now, runs, err := h.supervised(ctx)
	if err != nil {
		return updater.StatusResponse{}, fmt.Errorf("cannot tell the status of %s: %w", r.Component, err)
	}
	running := runs && now.State == supervisor.Running
	answer := updater.StatusResponse{Version: v.Version, Running: running, Restarts: now.Restarts}
	if installed {
		answer.Handle = v.handle()
		answer.NoState = !v.Traits.handed() && !h.hasState()
	}
	return answer, nil
}

// hasState reports whether there is a state that a start would find. What a
// component keeps elsewhere nobody can see.
func (h Home) hasState() bool {
	return disk.Exists(h.State()) || disk.Exists(h.incoming()) || disk.Exists(h.saved())
}

// withLog adds the last lines that the component has printed since its start to an
// error.
func (h Home) withLog(err error) error {
	if lines := h.runner().LastLines(h); lines != "" {
		return fmt.Errorf("%w; its log ends with:\n%s", err, lines)
	}
	return err
}

// inUse fails if the component runs: its state must not be touched then.
func (h Home) inUse(ctx context.Context) error {
	now, runs, err := h.supervised(ctx)
	if err == nil && runs {
		err = fmt.Errorf("it is %s: stop it first", now.State)
	}
	if err != nil {
		return err
	}
	return os.MkdirAll(h.Dir, 0o700)
}

// takeOver makes the incoming state the live one, or readies it to be handed
// over. It may be repeated after it was cut off at any point: until the last
// rename is on the disk, incoming exists and the live state is not looked at.
func (h Home) takeOver(ctx context.Context, v Version) error {
	if err := errors.Join(h.promote(), removeAll(h.incoming()+component.AppliedSuffix)); err != nil {
		return err
	}
	live, lone := h.State(), h.lone()
	if disk.Exists(h.incoming()) {
		if v.Traits.handed() {
			live = h.incoming()
		} else if err := h.replaceState(); err != nil {
			return err
		}
	} else if err := h.keepState(); err != nil {
		return err
	}
	if err := os.MkdirAll(h.State(), 0o700); err != nil || lone {
		return err
	}
	// What was saved may share its files with the state: now that the
	// component will write them in place, it gets its own.
	return disk.Unshare(ctx, live, h.Path(".unshared"))
}
