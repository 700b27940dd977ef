package manager

import (
	"context"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// A check asks for the newest package of a component. That may take minutes where the
// file server is slow or away, while others have to be looked after: so it is made
// beside the loop.
type check struct {
	installed engine.Installed // when it began
	done      bool
	found     Found
	newer     bool
	err       error
}

// pull looks for a newer package if a check is due, and installs what one has found.
func (m *Manager) pull(ctx context.Context, component string) {
	if m.takeDue(component, time.Now(), m.on()) && ctx.Err() == nil {
		m.beginCheck(ctx, component)
	}
	if c := m.takeChecked(component); c != nil {
		m.follow(ctx, component, c)
	}
}

// beginCheck begins a check, unless one is under way, or an update.
func (m *Manager) beginCheck(ctx context.Context, component string) {
	if _, busy := m.unfinished(component); busy {
		return
	}
	w, installed, err := m.read(component)
	if err != nil {
		m.Log.Error("cannot check for updates", "component", component, "error", err)
		return
	}
	if w.Wish.Remove != "" {
		return // a schedule does not bring back what was removed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.checks[component] != nil {
		return
	}
	c := &check{installed: installed}
	m.checks[component] = c
	m.checking.Go(func() {
		found, newer, err := m.Check(ctx, component, installed.Version)
		m.mu.Lock()
		c.found, c.newer, c.err, c.done = found, newer, err, true
		m.mu.Unlock()
		m.poke()
	})
}

func (m *Manager) takeChecked(component string) *check {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.checks[component]
	if c == nil || !c.done {
		return nil
	}
	delete(m.checks, component)
	return c
}

// follow installs what a check has found, if nothing has happened since. A package that
// has failed is not tried again: it would fail every time; but one that was not signed
// may be by now.
func (m *Manager) follow(ctx context.Context, component string, c *check) {
	if c.err != nil {
		m.Log.Warn("cannot check for updates", "component", component, "error", c.err)
		return
	}
	w, installed, err := m.read(component)
	if _, busy := m.unfinished(component); busy || err != nil || w.Wish.Remove != "" || installed.Digest != c.installed.Digest {
		return
	}
	m.Log.Debug("checked for updates", "component", component, "installed", installed.Version, "found", c.found.Version)
	last, tried, _ := m.Memory.Outcome(component)
	if back := installed.Previous; c.newer && back != nil && back.Digest == c.found.Digest {
		m.Log.Info("the newer version is the one that the component went back from: it is not installed without a wish", "component", component, "version", c.found.Version)
		return
	}
	if !c.newer || tried && last.Wish.Package == c.found.Digest && last.Result != engine.Updated && !last.Unsigned {
		return
	}
	m.run(ctx, engine.Update{ID: newID(), Component: component, From: installed, Wish: engine.Wish{Version: c.found.Version, Package: c.found.Digest}})
	m.poke() // others may have waited for this one
}
