package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Dependants are those on this device who depend on a component.
type Dependants interface {
	// Stops lists the components that must not run while this one is away, in
	// the order in which they start again.
	Stops(component string) []string
	// Await returns when those who were told of the update are ready for it,
	// or says who is not when ctx ends.
	Await(ctx context.Context, component, update string) error
}

// A Deferral is what the dependants of a component have said to one update.
// Times are counted from when they were first asked.
type Deferral struct {
	Update string           `json:"update"`
	Asked  Moment           `json:"asked"`
	Wall   time.Time        `json:"wall"` // the same, for after a reboot
	Begun  bool             `json:"begun,omitempty"`
	By     map[string]Delay `json:"by,omitempty"` // by name of the dependant
}

// A Delay is one dependant's answer.
type Delay struct {
	Until  time.Duration `json:"until"` // 0: it needs none
	Max    time.Duration `json:"max"`
	Reason string        `json:"reason,omitempty"`
}

// stops lists the installed components that are stopped for the update. The
// journal has them before the first of them stops.
func (e *Engine) stops(u *Update) ([]string, error) {
	if e.Dependants == nil || u.From.Version == "" {
		return nil, nil
	}
	installed, err := e.Inventory.Everything()
	return slices.DeleteFunc(e.Dependants.Stops(u.Component), func(name string) bool { return installed[name].Version == "" }), err
}

// stopDependants stops them, those first that nobody depends on. One that does
// not come to rest is stopped all the same, as the component itself is.
func (e *Engine) stopDependants(ctx context.Context, u *Update) error {
	for _, name := range slices.Backward(u.Halted) {
		h, err := e.updaterOf(ctx, name)
		if err != nil {
			return fmt.Errorf("cannot stop dependant %s: %w", name, err)
		}
		if h.Capabilities().Quiesce {
			err := limited(ctx, func(ctx context.Context) error {
				return h.Quiesce(ctx, updater.QuiesceRequest{Component: name})
			})
			if err != nil {
				e.Log.Warn("dependant did not come to rest", "component", u.Component, "dependant", name, "error", err)
			}
		}
		if _, err := h.Stop(ctx, updater.StopRequest{Component: name}); err != nil {
			return fmt.Errorf("cannot stop dependant %s: %w", name, err)
		}
	}
	return nil
}

// startDependants lets them run again. All are tried.
func (e *Engine) startDependants(ctx context.Context, u *Update) error {
	var errs []error
	for _, name := range u.Halted {
		if r, open, err := e.Journal.Load(name); err == nil && open && r.Stopped() {
			continue // its own update starts it
		}
		h, err := e.updaterOf(ctx, name)
		if err == nil {
			err = e.Begin(ctx, h, name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot start dependant %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// letDependantsGo is startDependants where nothing can be done about a failure:
// the manager goes on trying.
func (e *Engine) letDependantsGo(ctx context.Context, u *Update) {
	if err := e.startDependants(ctx, u); err != nil {
		e.Log.Error("dependants do not run", "component", u.Component, "error", err)
	}
}

// release has the dependants run at the end of an update, however it ends.
func (e *Engine) release(u *Update) {
	if len(u.Halted) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
	defer cancel()
	e.letDependantsGo(ctx, u)
}

const releaseTime = time.Minute

// awaitDependants gives those who were told the time to end what needs the
// component.
func (e *Engine) awaitDependants(ctx context.Context, u *Update) error {
	if e.Dependants == nil {
		return nil
	}
	if err := e.Dependants.Await(ctx, u.Component, u.ID); err != nil {
		return fmt.Errorf("dependants need it: %w", err)
	}
	return nil
}

func (e *Engine) updaterOf(ctx context.Context, component string) (*updater.Client, error) {
	kind, _, _ := strings.Cut(component, "/")
	return e.Updater(ctx, kind)
}

// Holds reports whether the update keeps a dependant stopped now.
func (r *Record) Holds(dependant string) bool { return slices.Contains(r.Update.Halted, dependant) }

// DependantsOf lists what the package of an installed component says that it
// depends on.
func (e *Engine) DependantsOf(component string, i Installed) []pack.Dependant {
	p, err := e.load(i.Digest)
	if err != nil {
		return nil // nothing is installed, or its description is lost
	}
	for n := range p.Manifest.Dependants {
		p.Manifest.Dependants[n].Component = component
	}
	return p.Manifest.Dependants
}
