package manager

import (
	"context"
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
