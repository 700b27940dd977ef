package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/recovery"
	"github.com/tranquil-iot/tranquil/agent/internal/self"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// checkContent removes damaged blobs beside everything else: no component waits for
// it, and an update reads again what it uses.
func (a *agent) checkContent(ctx context.Context) {
	removed, err := a.content.Check(ctx)
	if err != nil || len(removed) > 0 {
		a.log.Error("the content store was damaged", "removed", removed, "error", err)
	}
}

// ensure makes sure that an installed component is whole and runs. If it
// cannot be settled, the back end is told what the operator has to do.
func (a *agent) ensure(ctx context.Context, component string) error {
	if a.repair.Fault() != "" {
		if a.inactive(component) {
			return nil
		}
		return a.repair.Keep(ctx, component)
	}
	err := a.settle(ctx, component)
	if err != nil && ctx.Err() == nil {
		err = errors.Join(err, a.repair.Inconsistent(engine.Update{Component: component}, err))
	}
	a.changed(component)
	if errors.Is(err, recovery.ErrStateGone) || errors.Is(err, recovery.ErrApart) {
		return err // it would begin with an empty state, or with that of another version
	}
	return errors.Join(err, a.repair.Start(ctx, component))
}

// settle makes sure that the installed version is the one that is remembered.
func (a *agent) settle(ctx context.Context, component string) error {
	if component == self.Component {
		return a.settleItself(ctx)
	}
	return a.repair.Settle(ctx, component)
}

// settleItself is about the agent: what runs has been chosen, by what its updater remembers
// or by who has removed that, and another version is not put in its place but by an update.
func (a *agent) settleItself(ctx context.Context) error {
	_, open, err := a.store.Load(self.Component)
	if err != nil || open {
		return err
	}
	known, err := a.store.Installed(self.Component)
	if err != nil || known.Version == "" {
		return err
	}
	var status updater.StatusResponse
	err = a.call(ctx, self.Component, statusWithin, func(ctx context.Context, u *updater.Client) (err error) {
		status, err = u.Status(ctx, updater.StatusRequest{Component: self.Component})
		return err
	})
	if err != nil {
		return err
	}
	if status.Version == known.Version {
		return a.mendItself(ctx, known)
	}
	if err := a.store.Commit(self.Component, engine.Installed{}); err != nil {
		return err
	}
	return a.repair.Unchanged(self.Component, fmt.Errorf(
		"the agent runs as it was installed on the device, since its note of version %s is gone: ask for a version again, with another attempt", known.Version))
}

// mendItself puts what is damaged of the agent's version in place again, and starts anew
// with it.
func (a *agent) mendItself(ctx context.Context, known engine.Installed) error {
	damaged, err := self.Damaged(a.config.self())
	if err != nil || len(damaged) == 0 {
		return err
	}
	a.log.Error("the agent is damaged", "version", known.Version, "files", damaged)
	files := strings.Join(damaged, ", ")
	if _, err := a.engine.Repair(ctx, self.Component, known); err != nil && !errors.Is(err, updater.ErrReboot) {
		return fmt.Errorf("the agent is damaged (%s), and cannot be put in place again: %w; ask for a version again, with another attempt", files, err)
	}
	err = a.repair.Unchanged(self.Component, fmt.Errorf(
		"the files of the agent were damaged (%s); version %s was put in place again: check the device's disk", files, known.Version))
	a.restart()
	return err
}

// keep starts a component that has been found not to run, or stops one that
// shall not.
func (a *agent) keep(ctx context.Context, component string) error {
	if a.repair.Fault() != "" {
		return nil
	}
	return a.repair.Start(ctx, component)
}

// update runs an update on a device that is settled, or says why it does not.
func (a *agent) update(ctx context.Context, u engine.Update) (engine.Outcome, error) {
	if a.repair.Fault() != "" {
		return a.safe(u)
	}
	if u.Repair != 0 {
		if left, err := a.repair.Mend(ctx, u); !left {
			a.installed(u.Component)
			return engine.Outcome{}, err
		}
	}
	_, open, _ := a.store.Load(u.Component)
	if u.ID != "" || open {
		if err := a.settle(ctx, u.Component); errors.Is(err, recovery.ErrUnknown) {
			return a.refuse(u, err)
		}
	}
	var err error
	if u.From, err = a.store.Installed(u.Component); err != nil {
		return engine.Outcome{}, err
	}
	defer a.installed(u.Component)
	return a.engine.Run(ctx, u)
}

// turn is what a download may take before others have theirs.
func (a *agent) turn(ctx context.Context, component string) (context.Context, context.CancelFunc) {
	return a.manager.Turn(ctx, component)
}

// refuse ends a wish that cannot be looked at before the device is repaired.
func (a *agent) refuse(u engine.Update, cause error) (engine.Outcome, error) {
	return engine.Outcome{}, a.repair.Inconsistent(u, cause)
}

// safe answers a wish in safe mode. What the journal holds stays as it is.
func (a *agent) safe(u engine.Update) (engine.Outcome, error) {
	if u.ID == "" {
		return engine.Outcome{}, nil
	}
	o := u.Ended(engine.Refused, a.repair.Refusal())
	a.log.Warn("wish refused", "component", u.Component, "update", u.ID, "cause", o.Cause)
	return o, a.store.Report(o)
}

// mend repairs what put the agent into safe mode, and goes on.
func (a *agent) mend(ctx context.Context) error {
	err := a.repair.Repair(ctx, a.config.Components)
	for _, c := range a.config.Components {
		err = errors.Join(err, a.ensure(ctx, c))
	}
	return err
}

// inactive reports whether a component shall not run.
func (a *agent) inactive(component string) bool {
	w, err := a.store.Wishes(component)
	return err == nil && w.Inactive
}
