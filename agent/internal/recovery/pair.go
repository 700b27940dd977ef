package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// ErrApart says that the version that the updater has and the live state do not
// belong together, and cannot be brought together. The component must not
// start.
var ErrApart = errors.New("version and state do not belong together")

// Pairs know whose state the live one is; *[engine.Engine] does.
type Pairs interface {
	Holds(component string, i engine.Installed) error
	Agree(component, version string) error
	Reunite(ctx context.Context, component string) (of engine.Installed, done string, err error)
}

// reunite makes sure that a component which is not as the agent remembers it
// starts on no state of another version, and returns what the updater has
// then, and the version that the state is of. A version that is as remembered
// is noted as the one that holds the state, unless another one is known to. A
// component that runs is left alone: what it serves with cannot be changed
// under it.
func (r *Recovery) reunite(ctx context.Context, u *updater.Client, component string, i engine.Installed, status updater.StatusResponse) (_ updater.StatusResponse, of engine.Installed, err error) {
	apart := r.Pairs.Agree(component, cmp.Or(status.Version, i.Version))
	switch {
	case apart == nil && status.Version == "": // it has to be put in place again
		return status, of, nil
	case apart != nil && status.Running:
		if of, _, err := r.Pairs.Reunite(ctx, component); err != nil || of.Version != "" {
			return status, of, err // it is known to run on its own
		}
		return status, of, fmt.Errorf("%w: %w; it runs, and is left alone: look at it, and restart the device, then they are brought together before it starts", ErrApart, apart)
	case apart == nil && i.Version != "" && i.Version == status.Version:
		if err := r.Pairs.Holds(component, i); err != nil { // the disk takes nothing: no reason to stay away
			r.Log.Error("cannot note whose the state is", "component", component, "error", err)
		}
		return status, i, nil
	case apart == nil && status.Running: // so the state is its own
		return status, engine.Installed{Version: status.Version}, nil
	}
	of, done, err := r.Pairs.Reunite(ctx, component)
	if err != nil {
		return status, of, fmt.Errorf("%w: %w", ErrApart, err)
	}
	if done == "" {
		return status, of, nil
	}
	r.Log.Error("version and state were brought together", "component", component, "done", done)
	if r.reunited == nil {
		r.reunited = map[string]string{}
	}
	r.reunited[component] = "; " + done
	err = within(ctx, u, func(ctx context.Context) (err error) {
		status, err = u.Status(ctx, updater.StatusRequest{Component: component})
		return err
	})
	return status, of, err
}

// Fit reports whether a component may be started: not while the live state is
// of another version than the updater has, as after an update that could
// neither finish nor go back. If it does not run, both are brought together
// first; the back end is told, once, why they cannot be.
func (r *Recovery) Fit(ctx context.Context, component string) (may bool, err error) {
	u, status, err := r.ask(ctx, component)
	if u != nil && !u.Capabilities().Status {
		return true, nil // nobody can tell
	}
	if err != nil {
		return false, err
	}
	apart := r.Pairs.Agree(component, status.Version)
	switch _, open, err := r.Memory.Load(component); {
	case err != nil:
		return false, err
	case apart == nil || status.Version == "":
		return true, nil
	case status.Running: // a start could replace what runs
		return false, nil
	case open:
		return false, fmt.Errorf("%w: %w; its update goes on", ErrApart, apart)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.separate[component]
	if time.Now().Before(s.until) {
		return false, fmt.Errorf("the component stays stopped: %w: %w", ErrApart, apart)
	}
	if _, err = r.settle(ctx, component); err == nil || ctx.Err() != nil {
		delete(r.separate, component)
		return err == nil, err
	}
	err = fmt.Errorf("the component stays stopped: %w", err)
	told := s.told == err.Error()
	s.told, s.pause = err.Error(), min(max(2*s.pause, firstPause), lastPause)
	s.until = time.Now().Add(s.pause)
	if r.separate == nil {
		r.separate = map[string]separate{}
	}
	r.separate[component] = s
	if told {
		return false, err
	}
	return false, errors.Join(err, r.report(engine.Update{Component: component}, engine.Inconsistent, err.Error()))
}

// separate is what is known of a component that stays stopped. To bring its
// version and its state together is tried again now and then, not with each
// look: it writes to the disk.
type separate struct {
	told  string // to the back end
	until time.Time
	pause time.Duration
}

// Pauses between two tries; each is twice as long as the one before. Whoever
// asks for an update or for a repair does not wait for them.
const (
	firstPause = time.Minute
	lastPause  = time.Hour
)

// keepApart says in the fault why a component does not run.
func (r *Recovery) keepApart(component string, err error) error {
	err = fmt.Errorf("%s stays stopped: %w", component, err)
	if fault := r.Fault(); !strings.Contains(fault, err.Error()) {
		fault += "; " + err.Error()
		r.fault.Store(&fault)
	}
	return err
}
