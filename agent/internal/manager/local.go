package manager

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// ErrBusy refuses what is asked for on the device during an update: it can be
// asked for again.
var ErrBusy = errors.New("an update of the component is under way: await its end, or cancel it (tranquil cancel, tranquil-agent cancel)")

// GoBack has a component go back to its previous version, as [engine.WayBack]
// tells, by what [Manager.Request] does. If losing, also a present state that cannot be
// saved is no reason not to.
func (m *Manager) GoBack(component string, losing bool) (id string, err error) {
	v, err := m.View(component)
	if err != nil {
		return "", err
	}
	switch p := v.Previous; {
	case p == nil:
		return "", fmt.Errorf("there is no version of %s from before", component)
	case p.State == "":
		return "", fmt.Errorf("there is no way back to version %s: %s", p.Version, p.Loses)
	default:
		return m.Request(engine.Update{Component: component, Losing: losing, Wish: engine.Wish{Version: p.Version, Package: p.Package, State: p.State}})
	}
}

// Request has the loop run an update that was asked for on the device, soon,
// and returns its identity. What is wanted of the component stays as it is.
func (m *Manager) Request(u engine.Update) (id string, err error) {
	if !slices.Contains(m.Components, u.Component) {
		return "", unknown(u.Component)
	}
	if fault := m.Fault(); fault != "" {
		return "", errors.New(fault)
	}
	_, open := m.unfinished(u.Component)
	m.mu.Lock()
	defer m.mu.Unlock()
	_, updating := m.answers[u.Component]
	if _, asked := m.asked[u.Component]; asked || updating || open {
		return "", ErrBusy
	}
	u.ID, u.Urgent = newID(), true
	m.asked[u.Component] = u
	m.poke()
	return u.ID, nil
}

// local runs what was asked for on the device.
func (m *Manager) local(ctx context.Context, component string) {
	m.mu.Lock()
	u, found := m.asked[component]
	delete(m.asked, component)
	m.mu.Unlock()
	if found && ctx.Err() == nil {
		m.run(ctx, u)
	}
}

// A job is something that must not happen during an update of its component.
type job struct {
	component string
	f         func() error
	done      chan error
}

// Between has the loop call f, once no update is under way, and returns its
// error; [ErrBusy] if one of the component has begun and waits.
func (m *Manager) Between(ctx context.Context, component string, f func() error) error {
	j := job{component, f, make(chan error, 1)}
	m.queue(1)
	defer m.queue(-1)
	select {
	case m.jobs <- j:
		return <-j.done
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *Manager) queue(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queued += n
}

func (m *Manager) between(j job) error {
	if _, open, err := m.Journal(j.component); err != nil || open {
		return errors.Join(ErrBusy, err)
	}
	err := j.f()
	m.Changed(j.component)
	return err
}
