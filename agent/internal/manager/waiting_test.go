package manager

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// A device is a store, and an engine whose updates only ask for admission.
type device struct {
	mu        sync.Mutex
	installed map[string]engine.Installed
	wishes    map[string]engine.Wishes
	outcomes  map[string]engine.Outcome
	journal   map[string]engine.Record
	requires  map[string]map[string]string // of any new version
	order     []string                     // components, as they were updated
	runs      int
	manager   *Manager
	damage    string                   // that is found at the start
	safe      bool                     // the engine leaves the journal as it is
	delayed   time.Time                // a dependant delays updates until then
	far       map[string]time.Duration // how long a component's package is still to be downloaded
	done      []string                 // in this order: "keep a", "ensure b", "run a"
}

func (d *device) note(what string) { d.locked(func() { d.done = append(d.done, what) }) }

func (d *device) unreadable() (is bool) {
	d.locked(func() { is = d.safe })
	return is
}

// delay is what a dependant wants.
func (d *device) delay() (w engine.Wait, delayed bool) {
	d.locked(func() {
		delayed = time.Now().Before(d.delayed)
		w = engine.Wait{For: "a dependant", Until: d.delayed, Poll: true}
	})
	return w, delayed
}

func newDevice() *device {
	v1 := engine.Installed{Version: "1.0.0"}
	return &device{
		installed: map[string]engine.Installed{a: v1, b: v1}, wishes: map[string]engine.Wishes{}, outcomes: map[string]engine.Outcome{},
		journal: map[string]engine.Record{}, requires: map[string]map[string]string{}, far: map[string]time.Duration{},
	}
}

func (d *device) locked(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// begun is how often the engine was run.
func (d *device) begun() (n int) {
	d.locked(func() { n = d.runs })
	return n
}

func (d *device) Installed(c string) (i engine.Installed, _ error) {
	d.locked(func() { i = d.installed[c] })
	return i, nil
}

func (d *device) Wishes(c string) (w engine.Wishes, _ error) {
	d.locked(func() { w = d.wishes[c] })
	return w, nil
}

func (d *device) SetWishes(c string, w engine.Wishes) error {
	d.locked(func() { d.wishes[c] = w })
	return nil
}

func (d *device) Outcome(c string) (o engine.Outcome, found bool, _ error) {
	d.locked(func() { o, found = d.outcomes[c] })
	return o, found, nil
}

func (d *device) Report(o engine.Outcome) error {
	d.locked(func() { d.outcomes[o.Component] = o })
	return nil
}

func (d *device) load(c string) (r engine.Record, found bool, _ error) {
	d.locked(func() { r, found = d.journal[c] })
	return r, found, nil
}

func (d *device) run(ctx context.Context, u engine.Update) (engine.Outcome, error) {
	r, found, _ := d.load(u.Component)
	if d.unreadable() || !found && u.ID == "" {
		return engine.Outcome{}, nil
	}
	d.note("run " + u.Component)
	if !found {
		r = engine.Record{Step: "admit", Update: u}
		r.Update.To, r.Update.Requires = engine.Installed{Version: u.Wish.Version}, d.requires[u.Component]
	}
	d.locked(func() { d.runs++; d.journal[u.Component] = r })
	o := engine.Outcome{Update: r.Update.ID, Component: u.Component, Wish: r.Update.Wish, Result: engine.Updated}
	if !d.download(ctx, u.Component) {
		return engine.Outcome{}, d.wait(r, engine.Wait{For: "other work", Until: time.Now().Add(5 * time.Second), Poll: true})
	}
	err := d.manager.Permit(r.Update)
	if wait, delayed := d.delay(); err == nil && delayed {
		err = wait
	}
	var wait engine.Wait
	if r.Cancelled != "" {
		err = errors.New(r.Cancelled)
	} else if errors.As(err, &wait) {
		return engine.Outcome{}, d.wait(r, wait)
	}
	d.locked(func() {
		delete(d.journal, u.Component)
		if err != nil {
			o.Result, o.Cause = engine.Refused, err.Error()
		} else {
			d.installed[u.Component] = r.Update.To
			d.order = append(d.order, u.Component)
		}
		d.outcomes[u.Component] = o
	})
	return o, nil
}

func (d *device) wait(r engine.Record, wait engine.Wait) error {
	r.Waiting = &wait
	d.locked(func() { d.journal[r.Update.Component] = r })
	d.manager.Progress(engine.Progress{Component: r.Update.Component, Update: r.Update.ID, Phase: engine.Preparation, Waiting: &wait})
	return wait
}

// download reports whether it has come to its end before its turn has.
func (d *device) download(ctx context.Context, c string) (ended bool) {
	var left time.Duration
	d.locked(func() { left = d.far[c] })
	turn, end := d.manager.Turn(ctx, c)
	defer end()
	begin := time.Now()
	select {
	case <-time.After(left):
		ended = true
	case <-turn.Done():
	}
	d.locked(func() { d.far[c] -= time.Since(begin) })
	return ended
}

func (d *device) cancel(c, why string) error {
	r, found, _ := d.load(c)
	if !found {
		return engine.ErrNoUpdate
	}
	r.Cancelled = "cancelled: " + why
	d.locked(func() { d.journal[c] = r })
	return nil
}

// start runs a manager on the device, until the returned function ends it.
func (d *device) start(t *testing.T) (stop func()) {
	t.Helper()
	d.manager = New(Config{
		Components: []string{a, b}, Memory: d, Run: d.run, Cancel: d.cancel, Journal: d.load, Changed: func(string) {},
		Check: func(context.Context, string, string) (Found, bool, error) { return Found{}, false, nil },
		Keep:  func(_ context.Context, c string) error { d.note("keep " + c); return nil },
		Ensure: func(_ context.Context, c string) error {
			d.note("ensure " + c)
			if d.damage != "" {
				return d.Report(engine.Outcome{Update: "r", Component: c, Result: engine.Unchanged, Cause: d.damage})
			}
			return nil
		},
		Running: func(context.Context, string) bool { return true },
		Fault:   func() string { return "" }, Repaired: new(memory),
		Repair: func(context.Context) error {
			d.locked(func() { d.safe = false })
			return nil
		},
		Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	manager := d.manager
	go func() { defer close(ended); _ = manager.Run(ctx) }()
	synctest.Wait()
	return func() { cancel(); <-ended }
}

// want changes what the back end has set.
func (d *device) want(t *testing.T, c string, change func(*engine.Wishes)) {
	t.Helper()
	if err := d.manager.Want(c, change); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func version(v string) func(*engine.Wishes) {
	return func(w *engine.Wishes) { w.Wish = engine.Wish{Version: v} }
}

// waitsFor fails unless the twin says what the component waits for.
func (d *device) waitsFor(t *testing.T, c, what string) engine.Progress {
	t.Helper()
	v, err := d.manager.View(c)
	if err != nil || v.Progress == nil || v.Progress.Waiting == nil || !strings.Contains(v.Progress.Waiting.For, what) {
		t.Fatalf("%s does not wait for %s: %+v, %v", c, what, v.Progress, err)
	}
	return *v.Progress
}

// TestAllRunBeforeAnUpdateGoesOn: after a reboot no component waits until an
// update has fetched what it needs, be it its own or another one's.
func TestAllRunBeforeAnUpdateGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.journal[a] = engine.Record{Step: "download", Update: engine.Update{ID: "u", Component: a, To: engine.Installed{Version: "2.0.0"}}}
		defer d.start(t)()
		if want := []string{"keep " + a, "ensure " + b, "run " + a}; len(d.done) < 3 || !slices.Equal(d.done[:3], want) {
			t.Errorf("%q, want %q first", d.done, want)
		}
	})
}

// TestAnsweredBeforeARestart: the agent ended between the outcome and its note,
// and has something to say when it starts. That stays the last word, and the
// wish is not answered twice.
func TestAnsweredBeforeARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		wish := engine.Wish{Version: "1.0.0"}
		d.wishes[a] = engine.Wishes{Wish: wish}
		d.outcomes[a] = engine.Outcome{Update: "u", Component: a, Wish: wish, Result: engine.Updated}
		d.damage = "put in place again"
		stop := d.start(t)
		defer stop()
		pass(time.Hour)
		d.locked(func() {
			if o := d.outcomes[a]; o.Cause != d.damage || d.wishes[a].Settled != wish {
				t.Errorf("%+v, %+v", o, d.wishes[a])
			}
		})
	})
}

// TestRepairGoesOn: an update that could not go on in safe mode does so after
// the repair.
func TestRepairGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.safe = true
		d.journal[a] = engine.Record{Step: "admit", Update: engine.Update{ID: "u", Component: a, To: engine.Installed{Version: "2.0.0"}}}
		stop := d.start(t)
		defer stop()
		pass(time.Hour)
		if _, open, _ := d.load(a); !open {
			t.Fatal("it went on in safe mode")
		}
		if err := d.manager.Repair(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		d.locked(func() {
			if d.installed[a].Version != "2.0.0" {
				t.Errorf("installed %v, journal %v", d.installed, d.journal)
			}
		})
	})
}

// A delay ends when it ends, and at once when it is taken back; meanwhile the
// engine is left in peace.
func TestADelayEnds(t *testing.T) {
	for _, takenBack := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := newDevice()
			d.delayed = time.Now().Add(20 * time.Second)
			stop := d.start(t)
			defer stop()
			d.want(t, a, version("2.0.0"))
			pass(19 * time.Second)
			d.waitsFor(t, a, "a dependant")
			if n := d.begun(); n > 2 {
				t.Errorf("run %d times while it waits", n)
			}
			if takenBack {
				d.locked(func() { d.delayed = time.Time{} })
				d.manager.Again(a)
				synctest.Wait()
			} else {
				pass(time.Second + time.Millisecond)
			}
			d.locked(func() {
				if d.installed[a].Version != "2.0.0" {
					t.Errorf("taken back %v: installed %v", takenBack, d.installed)
				}
			})
		})
	}
}

// An update that waits for its window is there after a restart, holds up no
// other component, and goes on when the window opens.
func TestWaitingHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time begins on a Saturday, 2000-01-01: that clock was never set
		time.Sleep(time.Until(noon))
		d := newDevice()
		stop := d.start(t)
		d.want(t, a, func(w *engine.Wishes) { w.Terms.Window, w.Wish = "01:00-04:00", engine.Wish{Version: "2.0.0"} })
		p := d.waitsFor(t, a, "the maintenance window")
		if want := time.Date(2026, 6, 2, 1, 0, 0, 0, time.UTC); !p.Waiting.Until.Equal(want) {
			t.Errorf("until %s, want %s", p.Waiting.Until, want)
		}
		stop()
		stop = d.start(t)
		d.waitsFor(t, a, "the maintenance window")
		d.want(t, b, version("2.0.0"))
		d.locked(func() {
			if d.installed[b].Version != "2.0.0" || d.installed[a].Version != "1.0.0" {
				t.Fatalf("installed %v", d.installed)
			}
		})
		runs := d.begun()
		pass(12*time.Hour + 59*time.Minute)
		if n := d.begun() - runs; n != 0 {
			t.Errorf("run %d times while it waits", n)
		}
		pass(time.Minute)
		d.locked(func() {
			if d.installed[a].Version != "2.0.0" {
				t.Fatalf("installed %v", d.installed)
			}
		})
		stop()
	})
}

// Long downloads take turns, and what somebody waits for is done between them.
func TestDownloadsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.far[a], d.far[b] = 2*time.Hour, 10*time.Minute
		stop := d.start(t)
		defer stop()
		d.want(t, a, version("2.0.0"))
		pass(time.Hour)
		if n := d.begun(); n != 1 {
			t.Errorf("interrupted for nobody: run %d times", n)
		}
		called := make(chan error, 1)
		go func() { called <- d.manager.Between(t.Context(), b, func() error { return nil }) }()
		pass(turnLength)
		if err := <-called; err != nil {
			t.Error(err)
		}
		d.want(t, b, version("2.0.0"))
		pass(30 * time.Minute) // of the first twenty half are each one's
		d.locked(func() {
			if !slices.Equal(d.order, []string{b}) || d.far[a] > 52*time.Minute {
				t.Errorf("updated %v; left of a: %s", d.order, d.far[a])
			}
		})
		pass(time.Hour)
		d.locked(func() {
			if !slices.Equal(d.order, []string{b, a}) {
				t.Errorf("updated %v", d.order)
			}
		})
	})
}

func TestConsent(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(t *testing.T, d *device, id string)
		result string
	}{
		"consent": {func(t *testing.T, d *device, id string) {
			d.want(t, a, func(w *engine.Wishes) { w.Terms.Consented = id })
		}, engine.Updated},
		"refusal": {func(t *testing.T, d *device, id string) {
			d.want(t, a, func(w *engine.Wishes) { w.Terms.Refused = id })
		}, engine.Refused},
		"consent to another": {func(t *testing.T, d *device, _ string) {
			d.want(t, a, func(w *engine.Wishes) { w.Terms.Consented = "older" })
		}, ""},
		"at the device":     {func(t *testing.T, d *device, _ string) { answer(t, d, true) }, engine.Updated},
		"no, at the device": {func(t *testing.T, d *device, _ string) { answer(t, d, false) }, engine.Refused},
		"cancel": {func(t *testing.T, d *device, _ string) {
			if err := d.manager.Cancel(a); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}, engine.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDevice()
				defer d.start(t)()
				d.want(t, a, func(w *engine.Wishes) { w.Terms.Consent, w.Wish = engine.ConsentAsk, engine.Wish{Version: "2.0.0"} })
				p := d.waitsFor(t, a, "consent")
				test.answer(t, d, p.Update)
				o := d.outcomes[a]
				if o.Result != test.result || o.Result == engine.Refused && o.Cause == "" {
					t.Fatalf("%+v, want %s", o, test.result)
				}
				if test.result == "" {
					d.waitsFor(t, a, "consent")
				}
			})
		})
	}
}

func answer(t *testing.T, d *device, yes bool) {
	t.Helper()
	if err := d.manager.Consent(a, yes); err != nil {
		t.Error(err)
	}
	synctest.Wait()
	if err := d.manager.Consent(b, yes); err == nil {
		t.Error("consent to nothing")
	}
}

// There and back: the second wish for a version is a new one, whether or not
// the answer to the wish between was noted, or given.
func TestBackToAnEarlierWish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		stop := d.start(t)
		d.want(t, a, version("2.0.0"))
		d.want(t, a, version("3.0.0"))
		stop()
		d.locked(func() { // as it is before the answer to the last wish is noted
			w := d.wishes[a]
			w.Settled = engine.Wish{Version: "2.0.0"}
			d.wishes[a] = w
		})
		if err := d.manager.Want(a, version("2.0.0")); err != nil {
			t.Fatal(err)
		}
		defer d.start(t)()
		if d.installed[a].Version != "2.0.0" {
			t.Errorf("installed %v", d.installed[a])
		}
		d.want(t, a, func(w *engine.Wishes) { w.Terms.Consent, w.Wish = engine.ConsentAsk, engine.Wish{Version: "3.0.0"} })
		id := d.waitsFor(t, a, "consent").Update
		d.want(t, a, version("2.0.0"))
		if _, open := d.journal[a]; open || d.outcomes[a].Update == id || d.outcomes[a].Result != engine.Unchanged {
			t.Errorf("the update goes on although nobody wants it: %+v; wishes %+v", d.outcomes[a], d.wishes[a])
		}
	})
}

// A refusal that comes while the update is under way cancels it, and one of an older update does not.
func TestRefusalOfAnUpdateThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.start(t)() // what follows is between two turns of the loop, whenever that takes them
		d.locked(func() {
			d.journal[a] = engine.Record{Step: "download", Update: engine.Update{ID: "u1", Component: a}}
			d.journal[b] = engine.Record{Step: "rewrite", Update: engine.Update{ID: "u2", Component: b}, Waiting: &engine.Wait{For: "a reboot", Boot: "1"}}
		})
		for c, id := range map[string]string{a: "u1", b: "u2"} {
			if err := d.manager.Want(c, func(w *engine.Wishes) { w.Terms.Refused = "older" }); err != nil || d.journal[c].Cancelled != "" {
				t.Errorf("%s: %v, %+v", c, err, d.journal[c])
			}
			if err := d.manager.Want(c, func(w *engine.Wishes) { w.Terms.Refused = id }); err != nil || d.journal[c].Cancelled == "" {
				t.Errorf("%s: %v, %+v", c, err, d.journal[c])
			}
		}
		defer d.start(t)()
		for _, c := range []string{a, b} {
			if o := d.outcomes[c]; !strings.Contains(o.Cause, "cancelled: it was refused") {
				t.Errorf("%s: %+v", c, o)
			}
		}
	})
}

// What waits for a dependant turns back at once when it is cancelled.
func TestCancelWhileADependantDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.delayed = time.Now().Add(time.Hour)
		defer d.start(t)()
		d.want(t, a, version("2.0.0"))
		d.waitsFor(t, a, "a dependant")
		if err := d.manager.Cancel(a); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if o, _, _ := d.Outcome(a); !strings.Contains(o.Cause, "cancelled") {
			t.Errorf("%+v", o)
		}
	})
}

// The agent may end between the answer to a cancel and what follows from it.
func TestACancelSurvivesTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		stop := d.start(t)
		d.locked(func() { d.journal[a] = engine.Record{Step: "download", Update: engine.Update{ID: "u1", Component: a}} })
		if err := d.manager.Cancel(a); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stop()
		d.locked(func() { // as if it had not come to the journal
			delete(d.outcomes, a)
			d.journal[a] = engine.Record{Step: "download", Update: engine.Update{ID: "u1", Component: a}}
		})
		defer d.start(t)()
		if o := d.outcomes[a]; !strings.Contains(o.Cause, "cancelled") {
			t.Errorf("%+v", o)
		}
	})
}

// A newer wish turns back what waits for an older one.
func TestANewerWishSupersedesOneThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		stop := d.start(t)
		d.want(t, a, func(w *engine.Wishes) { w.Terms.Consent, w.Wish = engine.ConsentAsk, engine.Wish{Version: "2.0.0"} })
		first := d.waitsFor(t, a, "consent").Update
		stop() // the agent restarts
		defer d.start(t)()
		d.want(t, a, version("3.0.0"))
		if second := d.waitsFor(t, a, "consent"); second.Update == first || d.outcomes[a].Update != first || d.outcomes[a].Result != engine.Refused {
			t.Fatalf("%+v, %+v", second, d.outcomes[a])
		}
	})
}

// Packages that require each other's newer versions are installed in that
// order, whoever is asked for first; what cannot be is refused by name.
func TestOrder(t *testing.T) {
	for name, test := range map[string]struct {
		requires map[string]map[string]string
		wishes   []string
		order    []string
		refused  map[string]string
	}{
		"required first":     {map[string]map[string]string{b: {a: ">=2.0.0"}}, []string{a, b}, []string{a, b}, nil},
		"required last":      {map[string]map[string]string{a: {b: ">=2.0.0"}}, []string{a, b}, []string{b, a}, nil},
		"required much last": {map[string]map[string]string{a: {b: ">=2.0.0"}}, []string{a, "", b}, []string{b, a}, nil},
		"never asked for":    {map[string]map[string]string{a: {b: ">=2.0.0"}}, []string{a}, nil, map[string]string{a: "application/b >=2.0.0"}},
		"cycle":              {map[string]map[string]string{a: {b: ">=2.0.0"}, b: {a: ">=2.0.0"}}, []string{a, b}, nil, map[string]string{a: "application/b >=2.0.0", b: "neither can be first"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDevice()
				d.requires = test.requires
				defer d.start(t)()
				for _, c := range test.wishes {
					if c == "" {
						pass(wishGrace / 2)
						continue
					}
					d.want(t, c, version("2.0.0"))
				}
				pass(2 * wishGrace)
				if !slices.Equal(d.order, test.order) {
					t.Errorf("updated %v, want %v", d.order, test.order)
				}
				for _, c := range slices.Sorted(maps.Keys(test.refused)) {
					if o := d.outcomes[c]; o.Result != engine.Refused || !strings.Contains(o.Cause, test.refused[c]) {
						t.Errorf("%s: %+v, want a cause with %q", c, o, test.refused[c])
					}
				}
			})
		})
	}
}
