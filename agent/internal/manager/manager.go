// Package manager decides which update comes next, and has the engine run it.
//
// It knows what is wanted and what is installed of each component, and where
// their updates are; [Next] decides about all of them without side effects.
// [Permit] says when an update may begin to disturb its component: maintenance
// windows, consent, and what packages require of each other. Around them is
// one loop that runs one update at a time; one that waits holds nobody up, and
// downloads take turns.
// Everything the manager must remember is in the store, so a restart changes
// nothing.
package manager

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
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
	Mended(component string) (number int64, err error)
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
	// Journal returns the record of a component's unfinished update.
	Journal func(component string) (engine.Record, bool, error)
	// Ask lists the components whose updates need consent, whatever the back
	// end says.
	Ask []string
	// Check asks the file server for a package newer than current.
	Check func(ctx context.Context, component, current string) (Found, bool, error)
	// Ensure makes sure that an installed component is whole and runs.
	Ensure func(ctx context.Context, component string) error
	// Keep starts an installed component that has been found not to run, or stops
	// one that shall not.
	Keep func(ctx context.Context, component string) error
	// WayBack tells how a component goes back to its previous version; it may
	// be nil.
	WayBack func(component string, i engine.Installed) *engine.WayBack
	// Dependants tells what the dependants of a component may want when it is
	// updated; it may be nil.
	Dependants func(component string) map[string]string
	// Tidy does now and then what needs no update to be under way; it may be
	// nil.
	Tidy func(component string)
	// Trust tells how what is known of signatures stands; it may be nil.
	Trust func(component string) engine.Trust
	// States lists the saved states of a component; it may be nil.
	States func(component string) []engine.Saved
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
	jobs chan job
	on   func() time.Duration // the boot-time clock

	mu       sync.Mutex
	progress map[string]engine.Progress
	running  map[string]bool
	answers  map[string]engine.Wish // what the update under way answers
	checkNow map[string]bool
	repair   *repair                  // that somebody waits for
	asked    map[string]engine.Update // on the device, by component
	queued   int                      // jobs that somebody waits for
	mends    map[string]engine.Update // repairs that were asked for from afar and have not ended, by component
	tidied   map[string]time.Time     // of the loop alone
	due      map[string]plan          // of the next scheduled check
	held     map[string]time.Time     // until when not to try again; with a monotonic reading: a clock that is set back holds nobody
	known    map[string]known         // updates in progress
	stuck    map[string]bool          // the journal has an update that nobody here can go on with
	checks   map[string]*check        // for newer packages, that are under way or not looked at yet
	checking sync.WaitGroup
}

// known is an update, and since when the manager knows it.
type known struct {
	update string
	since  time.Time
}

// New returns a manager; [Manager.Run] sets it going.
func New(c Config) *Manager {
	slices.Sort(c.Components)
	m := &Manager{
		Config: c, wake: make(chan struct{}, 1), jobs: make(chan job), progress: map[string]engine.Progress{},
		running: map[string]bool{}, answers: map[string]engine.Wish{}, checkNow: map[string]bool{},
		asked: map[string]engine.Update{}, mends: map[string]engine.Update{}, tidied: map[string]time.Time{}, due: map[string]plan{},
		held: map[string]time.Time{}, known: map[string]known{}, stuck: map[string]bool{}, checks: map[string]*check{},
		on: func() time.Duration { return engine.Now().At },
	}
	for _, component := range c.Components { // whoever asks before Run goes on with them is not told that there is none
		if r, open, err := c.Journal(component); open && err == nil {
			m.progress[component] = r.Progress()
		}
	}
	return m
}

// lookInterval is how often the manager looks whether components still run,
// and whether what could not be done can be done now.
const lookInterval = 10 * time.Second

// pollInterval is how often it looks whether an update may go on that waits
// for something of which nobody tells.
const pollInterval = time.Minute

// Run works until ctx ends. An update that is under way then stays in the
// journal, and the next Run finishes it.
func (m *Manager) Run(ctx context.Context) error {
	defer m.checking.Wait()
	m.begin(ctx)
	for ctx.Err() == nil {
		m.mend(ctx)
		m.each(func(c string) { m.local(ctx, c); m.decided(ctx, c) })
		m.work(ctx)
		m.each(func(c string) {
			m.pull(ctx, c)
			m.look(ctx, c)
			m.keep(ctx, c)
			m.tidy(c)
		})
		select {
		case <-ctx.Done():
		case j := <-m.jobs:
			j.done <- m.between(j)
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

// begin takes up what an earlier process has left. All components run, unless
// an update has stopped them, before the first update goes on: that may take
// hours to fetch what it needs.
func (m *Manager) begin(ctx context.Context) {
	var updates []string
	m.each(func(c string) {
		if _, open, err := m.Journal(c); err != nil || !open {
			m.resume(ctx, c)
			return
		}
		updates = append(updates, c)
		if err := m.Keep(ctx, c); err != nil {
			m.Log.Error("cannot start component", "component", c, "error", err)
		}
	})
	for _, c := range updates {
		m.resume(ctx, c)
	}
}

// resume finishes what an earlier process began, then has the component run,
// unless its update has taken it out of service and waits.
func (m *Manager) resume(ctx context.Context, component string) {
	m.refuse(component) // the process that was told may have ended too early
	m.run(ctx, engine.Update{Component: component})
	if w, err := m.Memory.Wishes(component); err == nil {
		m.answered(component, w) // before Ensure has something else to say
	}
	m.mu.Lock()
	phase := m.progress[component].Phase
	m.mu.Unlock()
	if phase == engine.Execution || phase == engine.Transformation {
		return
	}
	if err := m.Ensure(ctx, component); err != nil {
		m.Log.Error("cannot start component", "component", component, "error", err)
	}
}

// work does what comes next until nothing is left to do.
func (m *Manager) work(ctx context.Context) {
	for ctx.Err() == nil {
		all := m.standings()
		move, some := Next(all, time.Now())
		if !some {
			return
		}
		s, _ := find(all, move.Component)
		u := engine.Update{ID: newID(), Component: s.Component, Wish: s.Wishes.Wish, From: s.Installed}
		switch move.Decision {
		case Resume:
			m.run(ctx, engine.Update{Component: s.Component})
		case Update:
			m.run(ctx, u)
		case Refuse:
			m.answer(u, engine.Refused, move.Cause)
		case Unchanged:
			m.unchanged(ctx, u, s.Wishes, move.Cause)
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

// answered takes note of the last outcome, once, and reports whether it has:
// it may answer the present wish. It is asked again after a restart, so nothing
// is lost if the agent ends between the outcome and the note.
func (m *Manager) answered(component string, w engine.Wishes) bool {
	o, found, err := m.Memory.Outcome(component)
	if err != nil || !found || o.Update != "" && o.Update == w.Noted {
		return false
	}
	note := func(w *engine.Wishes) {
		w.Noted = o.Update
		if o.Wish == w.Wish {
			w.Settled = o.Wish
		}
	}
	if err := m.change(component, note); err != nil {
		m.Log.Error("cannot settle wish", "component", component, "error", err)
		m.hold(component)
	}
	return true
}

// run has the engine run u, or go on with what the journal holds. An update
// that waits keeps its progress; one that stopped for a reason that is not in
// the journal is left alone for a while.
func (m *Manager) run(ctx context.Context, u engine.Update) {
	m.mu.Lock()
	m.answers[u.Component] = u.Wish
	m.mu.Unlock()
	_, err := m.Config.Run(ctx, u)
	m.look(ctx, u.Component) // while its progress still tells what runs
	r, open, _ := m.Journal(u.Component)
	var wait engine.Wait
	m.mu.Lock()
	delete(m.answers, u.Component)
	if !errors.As(err, &wait) {
		delete(m.progress, u.Component)
	}
	m.stuck[u.Component] = err == nil && open
	switch {
	case err != nil && wait.Poll:
		now := time.Now()
		m.held[u.Component] = now.Add(pollIn(wait.Until, now))
	case err != nil && r.Waiting == nil:
		m.held[u.Component] = time.Now().Add(lookInterval)
	}
	m.mu.Unlock()
	m.Changed(u.Component)
	if err != nil && wait.For == "" && ctx.Err() == nil {
		m.Log.Warn("update has not ended", "component", u.Component, "error", err)
	}
}

// pollIn is how long not to look again for what may have come at until.
func pollIn(until, now time.Time) time.Duration {
	if until.IsZero() {
		return pollInterval
	}
	return min(max(until.Sub(now), 0), pollInterval)
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
		To: u.Wish.Version, Result: result, Cause: cause, At: time.Now().UTC(), Repair: u.Repair,
	}
	if u.Repair != 0 {
		o.Kind, o.To = engine.KindRepair, o.From
	}
	m.Log.Info("wish answered without an update", "component", u.Component, "result", result, "cause", cause)
	if err := m.Memory.Report(o); err != nil {
		m.Log.Error("cannot report", "component", u.Component, "error", err)
		m.hold(u.Component)
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
