package recovery

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
// is noted as the one that holds the state.
func (r *Recovery) reunite(ctx context.Context, u *updater.Client, component string, i engine.Installed, status updater.StatusResponse) (_ updater.StatusResponse, of engine.Installed, err error) {
	if i.Version != "" && i.Version == status.Version {
		if err := r.Pairs.Holds(component, i); err != nil { // the disk takes nothing: no reason to stay away
			r.Log.Error("cannot note whose the state is", "component", component, "error", err)
		}
		return status, i, nil
	}
	of, done, err := r.Pairs.Reunite(ctx, component)
	r.apart.Store(component, err != nil)
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
		r.apart.Store(component, false)
		return true, nil
	case status.Running: // a start could replace what runs
		return false, nil
	case open:
		return false, fmt.Errorf("%w: %w; its update goes on", ErrApart, apart)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err = r.settle(ctx, component); err == nil || ctx.Err() != nil {
		delete(r.separate, component)
		return err == nil, err
	}
	err = fmt.Errorf("the component stays stopped: %w", err)
	if r.separate[component] == err.Error() {
		return false, err
	}
	if r.separate == nil {
		r.separate = map[string]string{}
	}
	r.separate[component] = err.Error()
	return false, errors.Join(err, r.report(engine.Update{Component: component}, engine.Inconsistent, err.Error()))
}

// keepApart says in the fault why a component does not run.
func (r *Recovery) keepApart(component string, err error) error {
	err = fmt.Errorf("%s stays stopped: %w", component, err)
	if fault := r.Fault(); !strings.Contains(fault, err.Error()) {
		fault += "; " + err.Error()
		r.fault.Store(&fault)
	}
	return err
}

// Apart reports whether a component must not start, see [ErrApart].
func (r *Recovery) Apart(component string) bool {
	apart, known := r.apart.Load(component)
	return known && apart.(bool)
}
