package manager

import (
	"context"
	"slices"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// A repair was asked for and has not ended.
type repair struct {
	number int64         // of who asked from afar; 0: somebody at the device
	ended  chan struct{} // closed
	err    error         // valid then
}

// Repair has the agent leave safe mode, and returns when that is done, or ctx
// ends.
func (m *Manager) Repair(ctx context.Context) error {
	r := m.ask(0)
	select {
	case <-r.ended:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// RepairOnce begins a repair, unless the one of this number has ended before:
// so it may be asked for again and again.
func (m *Manager) RepairOnce(number int64) error {
	done, err := m.Config.Repaired.Repaired()
	if err == nil && done != number {
		m.ask(number)
	}
	return err
}

// MendOnce has the loop do what an operator has decided from afar of a
// component, unless that of this number has ended before or is under way: so
// it may be asked for again and again. Whatever comes of it is an outcome.
func (m *Manager) MendOnce(component string, number int64, c engine.Choice) error {
	if !slices.Contains(m.Components, component) {
		return unknown(component)
	}
	done, err := m.Config.Repaired.Mended(component)
	if r, open := m.unfinished(component); err != nil || done == number || open && r.Update.Repair == number {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mends[component].Repair != number {
		m.mends[component] = engine.Update{ID: newID(), Component: component, Repair: number, Restore: c.Restore, Urgent: true}
	}
	m.poke()
	return nil
}

// Mend is MendOnce for somebody at the device, who can ask again.
func (m *Manager) Mend(component string, c engine.Choice) (id string, err error) {
	return m.Request(engine.Update{Component: component, Repair: engine.RepairHere, Restore: c.Restore})
}

// decided does what was decided of a component.
func (m *Manager) decided(ctx context.Context, component string) {
	m.mu.Lock()
	u, found := m.mends[component]
	m.mu.Unlock()
	if !found || ctx.Err() != nil {
		return
	}
	r, open := m.unfinished(component)
	switch {
	case m.Fault() != "":
		m.answer(u, engine.Refused, "the agent is in safe mode: "+m.Fault()+"; repair that first, without a component")
	case open:
		m.answer(u, engine.Refused, "update "+r.Update.ID+" of the component has not ended: cancel it, or let it end")
	default:
		m.run(ctx, u)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mends[component].ID == u.ID { // else another one was asked for meanwhile
		delete(m.mends, component)
	}
}

func (m *Manager) ask(number int64) *repair {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.repair == nil {
		m.repair = &repair{ended: make(chan struct{})}
	}
	if number != 0 {
		m.repair.number = number
	}
	m.poke()
	return m.repair
}

// mend does what was asked for.
func (m *Manager) mend(ctx context.Context) {
	m.mu.Lock()
	r := m.repair
	m.mu.Unlock()
	if r == nil {
		return
	}
	r.err = m.Config.Repair(ctx)
	if ctx.Err() != nil {
		return // asked for again after the restart
	}
	if r.err != nil {
		m.Log.Error("cannot repair", "error", r.err)
	}
	m.mu.Lock()
	m.repair = nil
	clear(m.stuck)
	number := r.number
	m.mu.Unlock()
	if number != 0 {
		if err := m.Config.Repaired.SetRepaired(number); err != nil {
			m.Log.Error("cannot note the repair", "error", err)
		}
	}
	close(r.ended)
	m.each(m.Changed)
}
