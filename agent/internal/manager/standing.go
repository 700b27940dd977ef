package manager

import (
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/window"
)

// standings is what [Next] and [Permit] go by. A component of which the store
// cannot tell anything is left out.
func (m *Manager) standings() (all []Standing) {
	for _, c := range m.Components {
		w, installed, err := m.read(c)
		if err == nil && m.answered(c, w) {
			w, installed, err = m.read(c)
		}
		if err != nil {
			m.Log.Error("cannot read what is wanted", "component", c, "error", err)
			continue
		}
		s := Standing{Component: c, Wishes: w, Installed: installed, Asks: slices.Contains(m.Ask, c)}
		if r, open := m.unfinished(c); open {
			s.Unfinished = &r
			s.Known = m.knownSince(c, r.Update.ID)
		}
		m.mu.Lock()
		s.NotBefore = m.held[c]
		m.mu.Unlock()
		all = append(all, s)
	}
	return all
}

// unfinished returns the record of an update in progress that can go on.
func (m *Manager) unfinished(component string) (engine.Record, bool) {
	m.mu.Lock()
	stuck := m.stuck[component]
	m.mu.Unlock()
	if stuck {
		return engine.Record{}, false
	}
	r, open, err := m.Journal(component) // what cannot be read is reported as a fault
	return r, open && err == nil
}

// knownSince returns since when this process knows an update.
func (m *Manager) knownSince(component, update string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.known[component]
	if k.update != update {
		k = known{update, time.Now()}
		m.known[component] = k
	}
	return k.since
}

// hold leaves a component alone for a while.
func (m *Manager) hold(component string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[component] = time.Now().Add(lookInterval)
}

// Again looks at once whether the update of a component may go on.
func (m *Manager) Again(component string) {
	m.mu.Lock()
	delete(m.held, component)
	m.mu.Unlock()
	m.poke()
}

// Permit is [Permit] for this device, now; the engine asks it.
func (m *Manager) Permit(u engine.Update) error {
	m.knownSince(u.Component, u.ID)
	return Permit(m.standings(), u, time.Now())
}

// CheckWindow reports why a maintenance window cannot be used; "" means any
// time and is valid.
func CheckWindow(text string) error {
	_, err := window.Parse(text)
	return err
}
