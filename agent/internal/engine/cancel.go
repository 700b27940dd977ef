package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Why an update cannot be cancelled.
var (
	ErrNoUpdate = errors.New("there is no update to cancel")
	ErrTooLate  = errors.New("too late to cancel: the new version is committed")
	ErrGoesBack = errors.New("the update turns back already")
)

// ErrCancelled is why an update that waits must not begin, if somebody has
// cancelled it: its outcome says so.
var ErrCancelled = errors.New("cancelled")

// cancels knows the updates that are under way, by component.
type cancels struct {
	mu  sync.Mutex
	all map[string]*cancel
}

type cancel struct {
	turn    context.CancelCauseFunc // ends the step that runs
	refused error                   // why it is not possible any more
}

// Cancel asks an update to turn back, whether it runs or waits. There are
// three honest answers: nil, it does, and its outcome tells why; [ErrTooLate]
// or [ErrGoesBack]; and [ErrNoUpdate]. One that waits goes back at the next
// Run.
func (e *Engine) Cancel(component, why string) error {
	e.cancels.mu.Lock()
	defer e.cancels.mu.Unlock()
	cause := fmt.Errorf("cancelled: %s", why)
	c := e.cancels.all[component]
	switch {
	case c == nil:
		return e.cancelWaiting(component, cause)
	case c.refused != nil:
		return c.refused
	}
	c.refused = ErrGoesBack
	c.turn(cause)
	return nil
}

// cancelWaiting writes the cancel into the journal. No Run can begin
// meanwhile: it would need the lock.
func (e *Engine) cancelWaiting(component string, cause error) error {
	r, found, err := e.Journal.Load(component)
	switch {
	case err != nil:
		return fmt.Errorf("cannot load journal: %w", err)
	case !found:
		return ErrNoUpdate
	case r.Format > RecordFormat:
		return ErrNewer
	case r.Back || r.Cancelled != "":
		return ErrGoesBack
	case slices.ContainsFunc(e.steps(), func(s Step) bool { return s.Name == r.Step && s.Cancel == tooLate }):
		return ErrTooLate
	}
	r.Cancelled = cause.Error()
	return e.Journal.Save(r)
}

// cancellable returns the context in which the steps of an update go forward.
// close says why it cannot be cancelled from now on; the context itself lives
// as long as ctx.
func (e *Engine) cancellable(ctx context.Context, component string) (work context.Context, close func(error), end func()) {
	work, turn := context.WithCancelCause(ctx)
	c := &cancel{turn: turn}
	e.cancels.mu.Lock()
	defer e.cancels.mu.Unlock()
	if e.cancels.all == nil {
		e.cancels.all = map[string]*cancel{}
	}
	e.cancels.all[component] = c
	close = func(why error) {
		e.cancels.mu.Lock()
		defer e.cancels.mu.Unlock()
		c.refused = why
	}
	end = func() {
		e.cancels.mu.Lock()
		defer e.cancels.mu.Unlock()
		delete(e.cancels.all, component)
		turn(nil)
	}
	return work, close, end
}
