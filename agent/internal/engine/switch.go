package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// startOld lets the old version run again, and waits a while until it serves.
// That it does not is no reason to give up: it is what ran before.
func (e *Engine) startOld(ctx context.Context, u *Update) error {
	h, err := e.updater(ctx, u)
	if err != nil || u.From.Version == "" {
		return err
	}
	if err := e.putBack(ctx, h, u); err != nil {
		return err
	}
	e.open(u)
	if err := e.Begin(ctx, h, u.Component); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, defaultHealthy)
	defer cancel()
	if err := e.healthy(limited, u); err != nil && ctx.Err() == nil {
		e.Log.Warn("the old version is not healthy", "component", u.Component, "error", err)
	}
	u.Downtime = since(u.Down)
	return ctx.Err()
}

// Begin starts a component on the state that it has. Unless it runs already,
// the snapshots of that state go first: an updater may have to separate its
// files from their links, and a disk that is full has no room for copies. A
// rehearsal can be repeated; that a component is down cannot be excused.
func (e *Engine) Begin(ctx context.Context, h *updater.Client, component string) error {
	var status updater.StatusResponse
	if h.Capabilities().Status {
		status, _ = h.Status(ctx, updater.StatusRequest{Component: component}) // if it cannot be told, it does not run
	}
	if !status.Running {
		if err := e.Rehearsals.Release(component); err != nil {
			e.Log.Error("cannot drop snapshots of the live state", "component", component, "error", err)
		}
	}
	return h.Start(ctx, updater.StartRequest{Component: component})
}

// save has the updater hand over the state, and seals it: it stays as it is
// until retention ends, whatever becomes of the update.
func (e *Engine) save(ctx context.Context, u *Update) error {
	if !u.saves() {
		return nil
	}
	s, err := e.updater(ctx, u)
	if err != nil {
		return err
	}
	if e.gone(ctx, s, u) {
		return errGone
	}
	if err := e.Holds(u.Component, u.From); err != nil {
		return err
	}
	if err := e.number(u); err != nil {
		return err
	}
	u.Lost = false // by a try before
	snapshot, err := e.Rehearsals.Settle(u.Component, u.Rehearsal)
	if err != nil {
		return err
	}
	dir, err := e.States.Fresh(u.Component, u.Saved)
	if err != nil {
		return err
	}
	if err := s.Save(ctx, updater.SaveRequest{Component: u.Component, Dir: dir, Snapshot: snapshot}); err != nil {
		return e.forsake(ctx, u, err)
	}
	return e.seal(ctx, u, u.Saved, u.From)
}

// number chooses the generation of the saved state, before the journal says that
// it is saved: what a power cut leaves of it is found by its number.
func (e *Engine) number(u *Update) (err error) {
	if u.saves() && u.Saved == 0 {
		u.Saved, err = e.States.Next(u.Component)
	}
	return err
}

func (e *Engine) unsave(_ context.Context, u *Update) error { return e.drop(u, u.Saved) }

func (e *Engine) rewrite(ctx context.Context, u *Update) error {
	return e.switchTo(ctx, u, u.To.Handle)
}

func (e *Engine) rewriteBack(ctx context.Context, u *Update) error {
	return e.switchTo(ctx, u, u.From.Handle)
}

func (e *Engine) switchTo(ctx context.Context, u *Update, to updater.Handle) error {
	if u.same() {
		return nil
	}
	h, err := e.updater(ctx, u)
	if err != nil {
		return err
	}
	return h.Switch(ctx, updater.SwitchRequest{Component: u.Component, Handle: to})
}

// transform makes the state of the new version from the saved one, in a
// directory of its own.
func (e *Engine) transform(ctx context.Context, u *Update) error {
	if u.empties() {
		return e.empty(ctx, u)
	}
	if !u.transforms() {
		return nil
	}
	if u.Restore != 0 {
		return e.restored(ctx, u) // and is already, unless that was lost
	}
	steps, err := e.plan(u)
	if err != nil {
		return err
	}
	u.New = u.Saved + 1
	if _, err := e.Transform.Transform(ctx, u.Component, u.Saved, u.New, steps, share(ctx)); err != nil {
		return err
	}
	return e.seal(ctx, u, u.New, u.To)
}

func (e *Engine) dropNew(_ context.Context, u *Update) error { return e.drop(u, u.New) }

// apply hands over the new state. The updater may move it away; then it has
// applied it, whatever happened afterwards. That it is done is noted when the
// version has started, which does not wait for the disk then.
func (e *Engine) apply(ctx context.Context, u *Update) error {
	switch {
	case u.empties():
		return e.hand(ctx, u, u.New, u.To)
	case u.transforms():
		return e.handOver(ctx, u, u.New, u.To)
	}
	return nil
}

// applyOld hands back the saved state itself, since the new version may have
// written over what the updater took from it. A copy would need space, and a
// full disk may be why the update turns back. Who has no saved state gets none.
func (e *Engine) applyOld(ctx context.Context, u *Update) error {
	if u.Restore != 0 && u.From.Version == "" || u.Lost {
		return e.handNothing(ctx, u)
	}
	if !u.transforms() && !u.empties() || u.Saved == 0 {
		return nil
	}
	return e.hand(ctx, u, u.Saved, u.From)
}

func (e *Engine) start(ctx context.Context, u *Update) error {
	if u.removes() {
		return nil
	}
	h, err := e.updater(ctx, u)
	if err != nil {
		return err
	}
	e.open(u)
	if err := h.Start(ctx, updater.StartRequest{Component: u.Component}); err != nil {
		return e.shortage(u).explain(err)
	}
	if !u.transforms() {
		return nil
	}
	return e.Holds(u.Component, u.To)
}

func (e *Engine) stopNew(ctx context.Context, u *Update) error {
	u.Serving = false
	h, err := e.updater(ctx, u)
	if err != nil || u.removes() {
		return err
	}
	_, err = h.Stop(ctx, updater.StopRequest{Component: u.Component})
	return err
}

// Defaults of a manifest's probe.
const (
	defaultHealthy   = 30 * time.Second
	defaultProbation = time.Second
	probePause       = 50 * time.Millisecond
	probeFirst       = 5 * time.Millisecond // many components are healthy soon, and the downtime ends when that is seen
)

// probe ends the downtime when the new version is healthy, and fails if it
// does not stay so.
func (e *Engine) probe(ctx context.Context, u *Update) error {
	if u.removes() {
		e.letDependantsGo(ctx, u)
		return nil
	}
	p, err := e.load(u.To.Digest)
	if err != nil {
		return err
	}
	if u.Announced.Boot != now().Boot { // after a reboot nothing runs
		if err := e.start(ctx, u); err != nil {
			return err
		}
	}
	deadline := orDefault(p.Manifest.Probe.Deadline, defaultHealthy)
	limited, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	if err := e.healthy(limited, u); errors.Is(err, errCrashes) {
		return err
	} else if err != nil {
		return fmt.Errorf("not healthy within %s: %w", deadline, err)
	}
	if u.Down != (Moment{}) && u.Downtime == 0 {
		u.Downtime = since(u.Down)
	}
	u.Serving = true
	progress(ctx, 0.5) // the data is live again
	if err := e.probation(ctx, u, orDefault(p.Manifest.Probe.Probation, defaultProbation)); err != nil {
		return err
	}
	if err := e.confirm(ctx, u); err != nil {
		return fmt.Errorf("cannot confirm the new version: %w", err)
	}
	e.letDependantsGo(ctx, u)
	return nil
}

// confirm tells the updater of a component that goes back by itself that its
// version has proven itself. That comes before the point of no return: what
// cannot be confirmed would be gone after some reboot.
func (e *Engine) confirm(ctx context.Context, u *Update) error {
	h, err := e.updater(ctx, u)
	if err != nil || !h.Capabilities().Confirm {
		return err
	}
	return h.Confirm(ctx, updater.ConfirmRequest{Component: u.Component})
}

func orDefault(d pack.Duration, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return time.Duration(d)
}

// healthy returns when the component is, or the last reason when ctx ends.
func (e *Engine) healthy(ctx context.Context, u *Update) error {
	reason, disk := errors.New("it did not answer"), e.shortage(u)
	for pause := probeFirst; ; pause = min(2*pause, probePause) {
		err := e.ask(ctx, u)
		if err == nil {
			return nil
		}
		disk.note()
		if ctx.Err() == nil { // else the error is only that time is up
			reason = err
		}
		if e.crashes(ctx, u) {
			return fmt.Errorf("%w: %w", errCrashes, disk.explain(reason))
		}
		if sleep(ctx, pause) != nil {
			return disk.explain(reason)
		}
	}
}

// errCrashes ends a probe early: what crashes again and again costs downtime
// and nothing else.
var errCrashes = fmt.Errorf("it has crashed %d times", maxCrashes)

const maxCrashes = 3

func (e *Engine) crashes(ctx context.Context, u *Update) bool {
	h, err := e.updater(ctx, u)
	if err != nil || !h.Capabilities().Status {
		return false
	}
	status, err := h.Status(ctx, updater.StatusRequest{Component: u.Component})
	return err == nil && status.Restarts >= maxCrashes
}

// probation fails as soon as the component is not healthy any more.
func (e *Engine) probation(ctx context.Context, u *Update, length time.Duration) error {
	for begin := now(); since(begin) < length; {
		if err := sleep(ctx, probePause); err != nil {
			return err
		}
		if err := e.ask(ctx, u); err != nil {
			return fmt.Errorf("not healthy any more after %s: %w", since(begin).Round(time.Millisecond), e.shortage(u).explain(err))
		}
	}
	return nil
}

// ask probes once; a component without a probe is healthy if it was started.
func (e *Engine) ask(ctx context.Context, u *Update) error {
	h, err := e.updater(ctx, u)
	if err != nil || !h.Capabilities().Probe {
		return err
	}
	answer, err := h.Probe(ctx, updater.ProbeRequest{Component: u.Component})
	if err == nil && !answer.Healthy {
		err = errors.New(answer.Reason)
	}
	return err
}

// commit makes the new version the installed one. From here on the update can
// only go forward.
func (e *Engine) commit(_ context.Context, u *Update) error {
	u.To.Previous, u.To.Held, u.To.Parked = e.previous(u), u.held(), nil
	if err := e.Inventory.Commit(u.Component, u.To); err != nil {
		return Retry{Err: err}
	}
	if err := e.Holds(u.Component, u.To); err != nil {
		return Retry{Err: err}
	}
	return nil
}

// report puts the outcome into the outbox; it leaves it when the back end has
// acknowledged it.
func (e *Engine) report(_ context.Context, u *Update) error {
	err := e.Inventory.Report(u.outcome(u.done()))
	if t, was := u.timing(); err == nil && was {
		err = e.Inventory.AddTiming(u.Component, t)
	}
	if err != nil {
		return Retry{Err: err}
	}
	return nil
}

// clean removes what is not needed any more. What cannot be removed costs
// space and nothing else, so it fails nobody's update.
func (e *Engine) clean(ctx context.Context, u *Update) error {
	h, err := e.updater(ctx, u)
	if err == nil && !u.From.Handle.IsZero() && !u.same() {
		err = h.Unstage(ctx, updater.UnstageRequest{Component: u.Component, Version: u.From.Version, Handle: u.From.Handle})
	}
	err = errors.Join(err, e.purge(u), e.Transform.Prune(u.Component, u.To.Needs()), e.collect(u.Component))
	if err != nil {
		e.Log.Warn("cannot clean up after the update", "component", u.Component, "error", err)
	}
	if _, late := errors.AsType[lateError](context.Cause(ctx)); late {
		return nil // an updater that hangs
	}
	return ctx.Err()
}
