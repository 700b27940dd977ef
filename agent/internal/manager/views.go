package manager

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// Want changes what is wanted of a component, and wakes the manager.
func (m *Manager) Want(component string, change func(*engine.Wishes)) error {
	if !slices.Contains(m.Components, component) {
		return unknown(component)
	}
	if err := m.change(component, func(w *engine.Wishes) { renew(w, change) }); err != nil {
		return err
	}
	m.mu.Lock()
	delete(m.due, component) // the schedule may be another one now
	delete(m.held, component)
	m.mu.Unlock()
	m.supersede(component)
	m.refuse(component)
	m.Changed(component)
	m.poke()
	return nil
}

// renew changes wishes. One that comes after another is a new one, also if it
// was settled before that other one, whose answer may not have been noted yet.
func renew(w *engine.Wishes, change func(*engine.Wishes)) {
	old := w.Wish
	change(w)
	if old != (engine.Wish{}) && w.Wish != old && w.Settled == w.Wish {
		w.Settled = old
	}
}

// supersede turns back an update that answers an older wish, if it still can
// be: the newer one is answered next in any case.
func (m *Manager) supersede(component string) {
	w, installed, err := m.read(component)
	if err != nil {
		return
	}
	answers, busy := m.underway(component)
	decision, _ := decide(w.Wish, w.Settled, installed)
	if !busy || answers == w.Wish || answers == (engine.Wish{}) || decision == Nothing {
		return
	}
	if err := m.Config.Cancel(component, "a newer wish supersedes it"); err != nil {
		m.Log.Info("older update goes on", "component", component, "cause", err)
	}
}

// underway returns the wish that an update in progress answers.
func (m *Manager) underway(component string) (answers engine.Wish, busy bool) {
	m.mu.Lock()
	answers, busy = m.answers[component]
	m.mu.Unlock()
	if busy && answers != (engine.Wish{}) {
		return answers, true
	}
	r, waits := m.unfinished(component)
	return r.Update.Wish, busy || waits
}

// refuse turns back an update under way that somebody has refused. One that
// waits to be admitted goes by [Permit].
func (m *Manager) refuse(component string) {
	w, err := m.Memory.Wishes(component)
	r, open := m.unfinished(component)
	waits := r.Waiting != nil && r.Waiting.Boot == ""
	if err != nil || !open || waits || !refused(w, r.Update.ID) {
		return
	}
	if err := m.Config.Cancel(component, "it was refused"); err != nil {
		m.Log.Info("refused update goes on", "component", component, "update", r.Update.ID, "cause", err)
	}
}

// Cancel asks the update of a component to turn back. The error says why it
// cannot.
func (m *Manager) Cancel(component string) error {
	if !slices.Contains(m.Components, component) {
		return unknown(component)
	}
	if err := m.Config.Cancel(component, "as asked"); err != nil {
		return err
	}
	if r, open := m.unfinished(component); open { // so that the next process knows, if this one ends now
		err := m.change(component, func(w *engine.Wishes) { w.Answer = engine.Answer{Update: r.Update.ID} })
		if err != nil {
			m.Log.Error("cannot note the cancel", "component", component, "error", err)
		}
	}
	m.Again(component) // one that waits turns back when it is run again
	return nil
}

// CheckNow looks for a newer package now rather than when it is due.
func (m *Manager) CheckNow(component string) error {
	if !slices.Contains(m.Components, component) {
		return unknown(component)
	}
	m.mu.Lock()
	m.checkNow[component] = true
	m.mu.Unlock()
	m.poke()
	return nil
}

// Progress takes note of where an update is; the engine calls it.
func (m *Manager) Progress(p engine.Progress) {
	m.mu.Lock()
	m.progress[p.Component] = p
	m.mu.Unlock()
	m.Changed(p.Component)
}

// View returns all that can be said of a component.
func (m *Manager) View(component string) (engine.View, error) {
	w, installed, err := m.read(component)
	if !slices.Contains(m.Components, component) {
		return engine.View{}, err
	}
	v := engine.View{
		Component: component, Installed: installed, Wish: w.Wish, Schedule: w.Schedule,
		Delivery: w.Delivery, Inactive: w.Inactive,
		Terms: w.Terms, Asks: slices.Contains(m.Ask, component), Opens: opens(w.Terms.Window, time.Now()), Fault: m.Fault(),
	}
	if m.Dependants != nil {
		v.Dependants = m.Dependants(component)
	}
	v.Repaired, _ = m.Config.Repaired.Repaired()
	v.Mended, _ = m.Config.Repaired.Mended(component)
	if o, found, err := m.Memory.Outcome(component); err == nil && found {
		v.Outcome = &o
	}
	if m.Trust != nil {
		v.Trust = m.Trust(component)
	}
	if m.States != nil {
		v.States = m.States(component)
	}
	if m.WayBack != nil {
		v.Previous = m.WayBack(component, installed)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v.Running = m.running[component]
	if p, ok := m.progress[component]; ok {
		v.Progress = &p
		v.Running = v.Running && !p.Down || p.Serving != nil // as seen before the update, until it has been asked
	}
	return v, nil
}

// change rewrites the wishes of a component.
func (m *Manager) change(component string, change func(*engine.Wishes)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, err := m.Memory.Wishes(component)
	if err != nil {
		return err
	}
	old := w
	if change(&w); w == old {
		return nil
	}
	return m.Memory.SetWishes(component, w)
}

func (m *Manager) read(component string) (engine.Wishes, engine.Installed, error) {
	if !slices.Contains(m.Components, component) {
		return engine.Wishes{}, engine.Installed{}, unknown(component)
	}
	w, err := m.Memory.Wishes(component)
	if err != nil {
		return w, engine.Installed{}, err
	}
	installed, err := m.Memory.Installed(component)
	return w, installed, err
}

// look asks whether the component runs, and tells if that has changed.
func (m *Manager) look(ctx context.Context, component string) {
	runs := m.Running(ctx, component)
	m.mu.Lock()
	changed := m.running[component] != runs
	m.running[component] = runs
	m.mu.Unlock()
	if changed {
		m.Changed(component)
	}
}

// keep starts a component that does not run: what kept it running may itself
// have been killed. One that shall not run is stopped.
func (m *Manager) keep(ctx context.Context, component string) {
	w, err := m.Memory.Wishes(component)
	m.mu.Lock()
	runs := m.running[component]
	m.mu.Unlock()
	if err != nil || runs != w.Inactive || ctx.Err() != nil {
		return
	}
	if err := m.Keep(ctx, component); err != nil && ctx.Err() == nil {
		m.Log.Error("cannot start component again, or stop it", "component", component, "inactive", w.Inactive, "error", err)
	}
	m.look(ctx, component)
}

func (m *Manager) poke() {
	select {
	case m.wake <- struct{}{}:
	default: // it is awake already
	}
}

// takeDue reports whether a check of the component is due, and forgets it.
func (m *Manager) takeDue(component string, now time.Time, on time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, planned := m.due[component]
	planned = planned && !p.moved(now, on)
	due := m.checkNow[component] || planned && !now.Before(p.at)
	delete(m.checkNow, component)
	if planned && !due {
		p.now, p.on = now, on
		m.due[component] = p
		return false
	}
	if w, err := m.Memory.Wishes(component); err == nil {
		delete(m.due, component)
		if in, ok := dueIn(w.Schedule, now); ok {
			m.due[component] = plan{at: now.Add(in).Round(0), now: now, on: on}
		}
	}
	return due
}

// idle returns how long the manager may sleep.
func (m *Manager) idle(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	wait := lookInterval
	for _, p := range m.due {
		wait = min(wait, max(0, p.at.Sub(now)))
	}
	for _, p := range m.progress {
		if w := p.Waiting; w != nil && w.Until.After(now) {
			wait = min(wait, w.Until.Sub(now))
		}
	}
	return wait
}

// Consent answers the update of a component that is in progress, as somebody
// at the device does. The error says why there is nothing to answer.
func (m *Manager) Consent(component string, yes bool) error {
	if !slices.Contains(m.Components, component) {
		return unknown(component)
	}
	r, open := m.unfinished(component)
	if !open {
		return fmt.Errorf("there is no update of %s to answer", component)
	}
	m.mu.Lock()
	phase := m.progress[component].Phase
	m.mu.Unlock()
	if phase == engine.Execution || phase == engine.Transformation {
		return fmt.Errorf("too late: the update of %s has begun; it can still be cancelled until it is committed", component)
	}
	return m.Want(component, func(w *engine.Wishes) { w.Answer = engine.Answer{Update: r.Update.ID, Yes: yes} })
}
