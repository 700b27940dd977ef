package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Tranquil is the value of Update.Rest if the component came to rest before it
// was stopped. It is Unknown and the reason if nobody could ask it to, and else
// Forced and the reason.
const (
	Tranquil = "tranquil"
	Unknown  = "unknown: "
	Forced   = "forced: "
)

// quiesce waits for the dependants, stops those that want it, and then has the
// component end its open work. Who does not come to rest in time is stopped
// all the same: the update must not wait for ever.
func (e *Engine) quiesce(ctx context.Context, u *Update) error {
	h, err := e.updater(ctx, u)
	if err != nil || u.From.Version == "" {
		return err
	}
	if err := e.closing(u); err != nil {
		return err
	}
	unready := limited(ctx, func(ctx context.Context) error { return e.awaitDependants(ctx, u) })
	if err := e.stopDependants(ctx, u); err != nil {
		return err
	}
	if u.Down == (Moment{}) {
		u.Down = now()
	}
	restless := limited(ctx, func(ctx context.Context) error { return e.rest(ctx, h, u) })
	if _, is := errors.AsType[unasked](restless); is {
		u.Rest, restless = cmp.Or(u.Rest, Unknown+restless.Error()), nil
	}
	if err := cmp.Or(restless, unready); err != nil && ctx.Err() == nil {
		e.force(u, err)
	}
	u.Rest = cmp.Or(u.Rest, Tranquil)
	return ctx.Err()
}

func limited(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, quiesceTime)
	defer cancel()
	return f(ctx)
}

// quiesceTime is how long a component may take to end its open work.
const quiesceTime = 10 * time.Second

func (e *Engine) rest(ctx context.Context, h *updater.Client, u *Update) error {
	if !h.Capabilities().Quiesce {
		return unasked{errors.New("its updater cannot ask it to come to rest")}
	}
	if err := h.Quiesce(ctx, updater.QuiesceRequest{Component: u.Component}); ctx.Err() != nil {
		return fmt.Errorf("it did not come to rest within %s", quiesceTime)
	} else if errors.Is(err, errors.ErrUnsupported) {
		return unasked{err}
	} else if err != nil {
		return fmt.Errorf("it did not come to rest: %w", err)
	}
	return nil
}

// unasked is why nobody could ask the component.
type unasked struct{ error }

// force notes that the component is stopped by force, and the first reason for
// that.
func (e *Engine) force(u *Update, why error) {
	e.Log.Warn("component is stopped by force", "component", u.Component, "cause", why)
	if !u.Forced {
		u.Forced, u.Rest = true, Forced+why.Error()
	}
}

func (e *Engine) resume(ctx context.Context, u *Update) error {
	h, err := e.updater(ctx, u)
	if err != nil || u.From.Version == "" {
		return err
	}
	if h.Capabilities().Quiesce {
		if err := h.Resume(ctx, updater.ResumeRequest{Component: u.Component}); err != nil {
			return err
		}
	}
	e.letDependantsGo(ctx, u)
	return nil
}

// stop ends the component, and then makes sure of its last readings.
func (e *Engine) stop(ctx context.Context, u *Update) error {
	h, err := e.updater(ctx, u)
	if err != nil || u.From.Version == "" {
		return err
	}
	if err := e.closing(u); err != nil {
		return err
	}
	if u.Down == (Moment{}) {
		u.Down = now()
	}
	stopped, err := h.Stop(ctx, updater.StopRequest{Component: u.Component})
	if err == nil && stopped.Forced {
		e.force(u, errors.New("it did not end when asked to"))
	}
	if err == nil && e.Readings != nil {
		e.Readings.Closed(u.Component)
	}
	return err
}

func (e *Engine) closing(u *Update) error {
	if e.Readings == nil {
		return nil
	}
	return e.Readings.Closing(u.Component)
}

func (e *Engine) open(u *Update) {
	if e.Readings != nil {
		e.Readings.Open(u.Component)
	}
}
