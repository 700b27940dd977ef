package recovery

import (
	"context"
	"errors"
	"fmt"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// ErrStateGone says that a component has lost its live state and that the
// saved one cannot be put in place. It must not start: it would begin anew.
var ErrStateGone = errors.New("the live state of the component is gone")

// begin starts a component, with its state.
func (r *Recovery) begin(ctx context.Context, u *updater.Client, component string, i engine.Installed) error {
	if err := r.reinstate(ctx, u, component, i); err != nil {
		return err
	}
	if i.Parked != nil { // from now on the live state becomes another one
		i.Parked = nil
		if err := r.Memory.Commit(component, i); err != nil {
			return err
		}
	}
	return r.start(ctx, u, component)
}

// reinstate gives a component whose live state is gone the newest saved one.
// It is told before it is done: after a crash in between it is done again,
// and told again. If no state was ever saved the component begins anew, and
// that is told.
func (r *Recovery) reinstate(ctx context.Context, u *updater.Client, component string, i engine.Installed) error {
	if !u.Capabilities().Status || i.Schema == 0 {
		return nil
	}
	status, err := u.Status(ctx, updater.StatusRequest{Component: component})
	if err != nil || !status.NoState {
		return nil //nolint:nilerr // the start that follows finds out
	}
	saved, which, found := r.Engine.LastSaved(ctx, component, i)
	if ctx.Err() != nil {
		return context.Cause(ctx) // it may not have been looked at
	}
	if !found {
		return r.tellGone(component, engine.Inconsistent, "and none is saved: it begins with an empty one; look at the component, then ask for a version again, with another attempt")
	}
	if err := r.tellGone(component, engine.Unchanged, "it goes on with "+which+"; what it has stored since is lost"); err != nil {
		return err
	}
	if _, err := u.Stop(ctx, updater.StopRequest{Component: component}); err != nil {
		return fmt.Errorf("%w: %w", ErrStateGone, err)
	}
	if err := r.Engine.Reinstate(ctx, saved); err != nil {
		return fmt.Errorf("%w, and %s cannot be put in place: %w", ErrStateGone, which, err)
	}
	return nil
}

func (r *Recovery) tellGone(component, result, what string) error {
	if r.reinstated == nil {
		r.reinstated = map[string]string{}
	}
	r.reinstated[component] = "; its live state was gone, " + what
	return r.report(engine.Update{Component: component}, result, "the live state of the component was gone, "+what)
}
