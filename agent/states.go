package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// ready does what an update should not wait for while its component is
// stopped: sandboxes start, and what the component has written by now is
// brought to the disk. That this could not be done is no reason to end the
// update; if the disk fails, saving says so.
func (a *agent) ready(sandbox *host.Host) func(context.Context, string, []host.Step) error {
	return func(ctx context.Context, component string, steps []host.Step) error {
		err := sandbox.Ready(ctx, steps)
		if failed := a.states.Flush(ctx, component); failed != nil {
			a.log.Warn("cannot bring the state to the disk before its component stops", "error", failed)
		}
		return err
	}
}

// saved lists the saved states of a component, as its twin shows them.
func (a *agent) saved(component string) []state.Entry {
	entries, err := a.states.List(component, state.Needs{})
	if err != nil {
		a.log.Warn("cannot list saved states", "component", component, "error", err)
	}
	return entries
}

// An operator is what somebody at the device can do with saved states.
type operator struct{ *agent }

func (o operator) known(component string) error {
	if !slices.Contains(o.config.Components, component) {
		return fmt.Errorf("this device has no component %s", component)
	}
	return nil
}

func (o operator) List(component string) (any, error) {
	if err := o.known(component); err != nil {
		return nil, err
	}
	installed, err := o.store.Installed(component)
	if err != nil {
		return nil, err
	}
	entries, err := o.states.List(component, installed.Needs())
	for i, e := range entries { // an operator chooses from them
		found, err := o.states.Show(component, e.Generation)
		entries[i].Damaged = err != nil || found.Damaged
		if errors.Is(err, state.ErrMisplaced) {
			entries[i].Why = err.Error()
		}
	}
	return append([]state.Entry{}, entries...), err
}

// missing adds to the error of a generation that is not there which ones are.
func (o operator) missing(component string, gen uint64, err error) error {
	if err == nil {
		return nil
	}
	entries, _ := o.states.List(component, state.Needs{})
	return state.Missing(err, component, state.Generation(gen), entries)
}

func (o operator) Show(component string, gen uint64) (any, error) {
	if err := o.known(component); err != nil {
		return nil, err
	}
	c, err := o.states.Show(component, state.Generation(gen))
	return c, o.missing(component, gen, err)
}

func (o operator) Export(component string, gen uint64, w io.Writer) error {
	if err := o.known(component); err != nil {
		return err
	}
	return o.missing(component, gen, o.states.Export(component, state.Generation(gen), w))
}

// Mend begins the repair of a component.
func (o operator) Mend(component string, c engine.Choice) (string, error) {
	if err := o.known(component); err != nil {
		return "", err
	}
	if c.Restore != 0 {
		if _, err := o.states.Meta(component, c.Restore); err != nil {
			return "", o.missing(component, uint64(c.Restore), err)
		}
	}
	return o.manager.Mend(component, c)
}

func (o operator) Restore(component string, gen uint64) (string, error) {
	if err := o.known(component); err != nil {
		return "", err
	}
	if _, err := o.states.Meta(component, state.Generation(gen)); err != nil {
		return "", o.missing(component, gen, err)
	}
	return o.manager.Request(engine.Update{Component: component, Restore: state.Generation(gen)})
}

// Import makes a saved state of an archive. It stays, as one that a restore has
// brought back, until the next update.
func (o operator) Import(ctx context.Context, component string, archive io.Reader, schema int, outside, privileged bool) (uint64, error) {
	if err := o.known(component); err != nil {
		return 0, err
	}
	if !o.importing.TryLock() {
		return 0, errors.New("another import is under way: try again when it has ended")
	}
	defer o.importing.Unlock()
	meta, err := o.states.Unpack(component, archive, state.Intake{Schema: schema, Outside: outside, Privileged: privileged, Reserve: o.config.Reserve})
	if err != nil {
		return 0, err
	}
	var gen state.Generation
	err = o.manager.Between(ctx, component, func() (err error) {
		if gen, err = o.states.Adopt(ctx, component, meta); err != nil {
			return err
		}
		installed, err := o.store.Installed(component)
		if err != nil {
			return err
		}
		installed.Held = append(installed.Held, gen)
		return o.store.Commit(component, installed)
	})
	if err != nil {
		return 0, errors.Join(err, o.states.Discard(component))
	}
	return uint64(gen), nil
}

func (o operator) GoBack(component string, losing bool) (string, error) {
	return o.manager.GoBack(component, losing)
}

// tidy retires saved states that have become too old, and packages that a process
// before has left.
func (a *agent) tidy(component string) {
	_, open, err := a.store.Load(component)
	if err != nil || open || a.repair.Fault() != "" {
		return // an update that is open, or cannot be read, needs them
	}
	installed, err := a.store.Installed(component)
	if err == nil {
		err = a.states.Prune(component, installed.Needs())
	}
	if err != nil {
		a.log.Warn("cannot retire saved states", "component", component, "error", err)
	}
	if err := a.collect(); err != nil {
		a.log.Warn("cannot free the disk from packages that are not needed any more", "error", err)
	}
	a.changed(component) // the way back may be another one now
}
