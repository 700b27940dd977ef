// Package manager decides which update comes next, and has the engine run it.
//
// It knows what is wanted and what is installed of each component; [Next]
// compares the two, for one component, without side effects. Around it is one
// loop that runs one update at a time: an unfinished one first, then wishes
// that were pushed, then checks that are due. Everything it must remember is
// in the store, so a restart changes nothing.
package manager

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// A Memory is what the manager remembers; all of it is durable.
type Memory interface {
	Installed(component string) (engine.Installed, error)
	Outcome(component string) (engine.Outcome, bool, error)
	Wishes(component string) (engine.Wishes, error)
	SetWishes(component string, w engine.Wishes) error
	Report(engine.Outcome) error
}

// Repaired remembers which repair that was asked for has ended.
type Repaired interface {
	Repaired() (number int64, err error)
	SetRepaired(number int64) error
}

// A Found is a package that a check has found.
type Found struct{ Version, Digest string }

// Config is what a manager works with.
type Config struct {
	Components []string // names such as "application/sensor-adapter"
	Memory     Memory
	Run        func(context.Context, engine.Update) (engine.Outcome, error)
	// Cancel asks the update of a component to turn back.
	Cancel func(component, why string) error
	// Check asks the file server for a package newer than current.
	Check func(ctx context.Context, component, current string) (Found, bool, error)
	// Ensure makes sure that an installed component is whole and runs.
	Ensure func(ctx context.Context, component string) error
	// WayBack tells how a component goes back to its previous version; it may
	// be nil.
	WayBack func(component string, i engine.Installed) *engine.WayBack
	// Tidy does now and then what needs no update to be under way; it may be
	// nil.
	Tidy func(component string)
	// Running reports whether a component runs.
	Running func(ctx context.Context, component string) bool
	// Repair ends safe mode; Fault says why the agent is in it, "" if not.
	Repair   func(context.Context) error
	Fault    func() string
	Repaired Repaired
	// Changed is called, often, when a view of the component has changed. It
	// must not block.
	Changed func(component string)
	Log     *slog.Logger
}

// A Manager runs updates, one at a time.
type Manager struct {
	Config
	wake chan struct{}

	mu       sync.Mutex
	progress map[string]engine.Progress
	running  map[string]bool
	answers  map[string]engine.Wish // what the update under way answers
	checkNow map[string]bool
	repair   *repair                  // that somebody waits for
	asked    map[string]engine.Update // on the device, by component
	tidied   map[string]time.Time     // of the loop alone
	due      map[string]time.Time     // of the next scheduled check
}

// New returns a manager; [Manager.Run] sets it going.
func New(c Config) *Manager {
	slices.Sort(c.Components)
	return &Manager{
		Config: c, wake: make(chan struct{}, 1), progress: map[string]engine.Progress{},
		running: map[string]bool{}, answers: map[string]engine.Wish{}, checkNow: map[string]bool{},
		asked: map[string]engine.Update{}, tidied: map[string]time.Time{}, due: map[string]time.Time{},
	}
}

// lookInterval is how often the manager looks whether components still run.
const lookInterval = 10 * time.Second

// Run works until ctx ends. An update that is under way then stays in the
// journal, and the next Run finishes it.
func (m *Manager) Run(ctx context.Context) error {
	m.each(func(c string) { m.resume(ctx, c) })
	for ctx.Err() == nil {
		m.mend(ctx)
		m.each(func(c string) {
			m.local(ctx, c)
			m.push(ctx, c)
			m.pull(ctx, c)
			m.look(ctx, c)
			m.tidy(c)
		})
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-time.After(m.idle(time.Now())):
		}
	}
	return ctx.Err()
}

func (m *Manager) each(f func(component string)) {
	for _, c := range m.Components {
		f(c)
	}
}

// resume finishes what an earlier process began, then has the component run.
func (m *Manager) resume(ctx context.Context, component string) {
	m.run(ctx, engine.Update{Component: component})
	if err := m.Ensure(ctx, component); err != nil {
		m.Log.Error("cannot start component", "component", component, "error", err)
	}
}

// push answers the wish of a component, if it is a new one.
func (m *Manager) push(ctx context.Context, component string) {
	for ctx.Err() == nil {
		w, installed, err := m.read(component)
		if err != nil {
			m.Log.Error("cannot read what is wanted", "component", component, "error", err)
			return
		}
		if m.answered(component, w) {
			return
		}
		decision, cause := Next(w.Wish, w.Settled, installed)
		u := engine.Update{ID: newID(), Component: component, Wish: w.Wish, From: installed}
		switch decision {
		case Nothing:
			return
		case Update:
			if !m.run(ctx, u) {
				return
			}
		case Refuse:
			m.answer(u, engine.Refused, cause)
		case Unchanged:
			m.unchanged(ctx, u, w, cause)
		}
	}
}

// unchanged answers a wish for what is installed already, once that is sure to
// run. An agent that has forgotten everything is told again what was wanted
// long ago: that must not hide what it has to say.
func (m *Manager) unchanged(ctx context.Context, u engine.Update, w engine.Wishes, cause string) {
	last, found, _ := m.Memory.Outcome(u.Component)
	if err := m.Ensure(ctx, u.Component); err != nil {
		m.answer(u, engine.Inconsistent, err.Error())
	} else if found && last.Result == engine.Inconsistent && w.Settled == (engine.Wish{}) {
		m.answer(u, last.Result, last.Cause)
	} else {
		m.answer(u, engine.Unchanged, cause)
	}
}

// answered reports whether the last outcome answers the present wish, and
// writes that down. It is asked again after a restart, so nothing is lost if
// the agent ends between the outcome and the note.
func (m *Manager) answered(component string, w engine.Wishes) bool {
	o, found, err := m.Memory.Outcome(component)
	if err != nil || !found || o.Wish != w.Wish || w.Settled == w.Wish {
		return false
	}
	if err := m.change(component, func(w *engine.Wishes) { w.Settled = o.Wish }); err != nil {
		m.Log.Error("cannot settle wish", "component", component, "error", err)
	}
	return true
}

// pull looks for a newer package if a check is due, and installs it. A
// package that has failed is not tried again: it would fail every time.
func (m *Manager) pull(ctx context.Context, component string) {
	if !m.takeDue(component, time.Now()) || ctx.Err() != nil {
		return
	}
	installed, err := m.Memory.Installed(component)
	if err != nil {
		m.Log.Error("cannot check for updates", "component", component, "error", err)
		return
	}
	found, ok, err := m.Check(ctx, component, installed.Version)
	if err != nil {
		m.Log.Warn("cannot check for updates", "component", component, "error", err)
		return
	}
	m.Log.Debug("checked for updates", "component", component, "installed", installed.Version, "found", found.Version)
	last, tried, _ := m.Memory.Outcome(component)
	if back := installed.Previous; ok && back != nil && back.Digest == found.Digest {
		m.Log.Info("the newer version is the one that the component went back from: it is not installed without a wish", "component", component, "version", found.Version)
		return
	}
	if !ok || tried && last.Wish.Package == found.Digest && last.Result != engine.Updated {
		return
	}
	m.run(ctx, engine.Update{ID: newID(), Component: component, From: installed, Wish: engine.Wish{Version: found.Version, Package: found.Digest}})
}

// run has the engine run u, or finish what the journal holds, and reports
// whether that has ended.
func (m *Manager) run(ctx context.Context, u engine.Update) bool {
	m.mu.Lock()
	m.answers[u.Component] = u.Wish
	m.mu.Unlock()
	_, err := m.Config.Run(ctx, u)
	m.mu.Lock()
	delete(m.answers, u.Component)
	delete(m.progress, u.Component)
	m.mu.Unlock()
	m.look(ctx, u.Component)
	m.Changed(u.Component)
	if err != nil && ctx.Err() == nil {
		m.Log.Warn("update has not ended", "component", u.Component, "error", err)
	}
	return err == nil
}

// tidyInterval is how often there is a look at what has become too old.
const tidyInterval = time.Hour

func (m *Manager) tidy(component string) {
	if last, done := m.tidied[component]; m.Tidy == nil || done && time.Since(last) < tidyInterval {
		return
	}
	m.tidied[component] = time.Now()
	m.Tidy(component)
}

// answer ends a wish for which no update was needed.
func (m *Manager) answer(u engine.Update, result, cause string) {
	o := engine.Outcome{
		Update: u.ID, Component: u.Component, Wish: u.Wish, From: u.From.Version,
		To: u.Wish.Version, Result: result, Cause: cause, At: time.Now().UTC(),
	}
	m.Log.Info("wish answered without an update", "component", u.Component, "result", result, "cause", cause)
	if err := m.Memory.Report(o); err != nil {
		m.Log.Error("cannot report", "component", u.Component, "error", err)
	}
	m.Changed(u.Component)
}

// newID returns an identity for an update: unique on the device, and short,
// since people read it.
func newID() string {
	b := make([]byte, 6)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// unknown is the error of a request about a component that is not here.
func unknown(component string) error {
	return fmt.Errorf("this device has no component %s", component)
}
