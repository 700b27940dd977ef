package recovery

import (
	"errors"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/store"
)

// TestSafeMode: what cannot be read keeps updates from starting and the
// component running, in every life of the agent, until it is repaired.
func TestSafeMode(t *testing.T) {
	for _, c := range []struct {
		name   string
		harm   func(*world)
		damage store.Damage
		fault  string // that the agent is in safe mode for
		stops  bool   // the component was stopped by its update, and stays so
		cause  string // that the repair reports
	}{
		{name: "garbled", harm: func(w *world) { w.garbled = errors.New("no record") }, fault: "no record", cause: "set aside (kept); version 1.0.0 is installed"},
		{name: "newer", harm: func(w *world) { w.open, w.newer = true, engine.ErrNewer }, fault: "newer agent", cause: "set aside"},
		{name: "newer, and stopped", harm: func(w *world) {
			w.open, w.newer, w.runs, w.record.Update.Down = true, engine.ErrNewer, false, engine.Moment{Boot: "b"}
		}, fault: "newer agent", stops: true, cause: "set aside"},
		{name: "newer, and switched", harm: func(w *world) {
			w.open, w.newer, w.current, w.whole["2.0.0"] = true, engine.ErrNewer, "2.0.0", true
		}, fault: "newer agent", cause: "learned from the updater that it is 2.0.0"},
		{name: "garbled, and switched", harm: func(w *world) {
			w.garbled, w.current, w.whole["2.0.0"], w.holder = errors.New("no record"), "2.0.0", true, "1.0.0"
		}, fault: "no record", cause: "set aside (kept); version 1.0.0 is installed"},
		{name: "lost, and switched", harm: func(w *world) {
			w.installed, w.current, w.whole["2.0.0"], w.holder = engine.Installed{}, "2.0.0", true, "1.0.0"
		}, damage: store.Damage{Found: errors.New("broken"), Lost: true}, fault: "not known whether", cause: "learned from the updater that it is 1.0.0"},
		{name: "lost, and switched back", harm: func(w *world) {
			w.installed, w.whole["2.0.0"], w.holder = engine.Installed{}, true, "2.0.0"
		}, damage: store.Damage{Found: errors.New("broken"), Lost: true}, fault: "not known whether", cause: "learned from the updater that it is 2.0.0"},
		{name: "lost", harm: func(w *world) { w.installed = engine.Installed{} }, damage: store.Damage{Found: errors.New("broken"), Lost: true}, fault: "not known whether an update was cut off", cause: "learned from the updater that it is 1.0.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := sound()
			w.runs = false
			c.harm(w)
			for range 3 { // it is as safe in its next lives
				r := w.recovery(t, c.damage)
				c.damage = store.Damage{} // found once only
				r.Check([]string{name})
				if !strings.Contains(r.Fault(), c.fault) || !strings.Contains(r.Refusal().Error(), c.fault) {
					t.Fatalf("fault %q, want %q", r.Fault(), c.fault)
				}
				if err := r.Keep(t.Context(), name); err != nil || w.runs == c.stops {
					t.Fatalf("runs %v: %v", w.runs, err)
				}
			}
			repaired(t, w, c.cause)
		})
	}
}

func repaired(t *testing.T, w *world, cause string) {
	t.Helper()
	if w.outcome != nil {
		t.Fatalf("reported before it was repaired: %+v", w.outcome)
	}
	r := w.recovery(t, store.Damage{})
	r.Check([]string{name})
	for range 2 { // again is no harm
		if err := r.Repair(t.Context(), []string{name}); err != nil {
			t.Fatal(err)
		}
	}
	if r.Fault() != "" {
		t.Fatalf("still safe: %s", r.Fault())
	}
	if err := r.Settle(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if !w.runs || w.installed.Version != w.current || w.outcome == nil || !strings.Contains(w.outcome.Cause, cause) || w.outcome.Result != engine.Inconsistent {
		t.Errorf("%+v, %+v", w, w.outcome)
	}
}

// TestApart: a version that the state is not of stays stopped, and whoever
// looks at the device reads why and what to do.
func TestApart(t *testing.T) {
	w := sound()
	w.installed, w.runs, w.holder = engine.Installed{}, false, "0.9.0"
	r := w.recovery(t, store.Damage{Found: errors.New("broken"), Lost: true})
	r.Check([]string{name})
	for range 2 {
		if err := r.Keep(t.Context(), name); !errors.Is(err, ErrApart) || w.runs {
			t.Errorf("error %v, runs %v", err, w.runs)
		}
	}
	if strings.Count(r.Fault(), "stays stopped") != 1 || !strings.Contains(r.Fault(), "cannot be switched to") {
		t.Errorf("fault %q", r.Fault())
	}
	if err := r.Repair(t.Context(), []string{name}); err != nil {
		t.Fatal(err)
	}
	if err := r.Settle(t.Context(), name); !errors.Is(err, ErrUnknown) || w.runs {
		t.Errorf("after the repair: %v, runs %v", err, w.runs)
	}
	w.whole["0.9.0"] = true // the operator did it
	if err := r.Settle(t.Context(), name); err != nil || !w.runs || w.current != "0.9.0" {
		t.Errorf("%v, %+v", err, w)
	}
}

// TestFit: a component is not started on the state of another version also
// where an update of this process has left the two apart.
func TestFit(t *testing.T) {
	w := sound()
	r := w.recovery(t, store.Damage{})
	if err := r.Settle(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	w.current, w.runs, w.started, w.holder, w.whole = "2.0.0", false, 0, "1.0.0", map[string]bool{"2.0.0": true}
	for i := range 20 {
		w.outcome = nil
		if may, err := r.Fit(t.Context(), name); may || !errors.Is(err, ErrApart) || w.started > 0 {
			t.Errorf("may start: %v, error %v", may, err)
		}
		if told := w.outcome != nil && strings.Contains(w.outcome.Cause, "cannot be switched to"); told != (i == 0) {
			t.Errorf("look %d: told %+v", i, w.outcome)
		}
	}
	if w.reunions != 1 {
		t.Errorf("%d tries to bring them together in 20 looks", w.reunions)
	}
	w.open = true
	if may, err := r.Fit(t.Context(), name); may || !errors.Is(err, ErrApart) {
		t.Errorf("an open update: may start: %v, error %v", may, err)
	}
	w.open, w.whole["1.0.0"] = false, true // the operator did it, and asks for a version or a repair
	if err := r.Settle(t.Context(), name); err != nil {
		t.Error(err)
	}
	if may, err := r.Fit(t.Context(), name); !may || err != nil || w.current != "1.0.0" || !w.runs || w.reunions != 2 {
		t.Errorf("may start: %v, error %v, %+v", may, err, w)
	}
}

// TestOpenUpdateInSafeMode: a component whose update goes on after safe mode
// runs meanwhile only if that cannot cost it anything, and never on the state of
// another version.
func TestOpenUpdateInSafeMode(t *testing.T) {
	for _, c := range []struct {
		step    string
		back    bool
		current string // what the updater has
		runs    bool
	}{
		{"stage", false, "1.0.0", true},
		{"stop", false, "1.0.0", true},
		{"save", false, "1.0.0", false}, // what it wrote would be in no saved state
		{"transform", false, "2.0.0", false},
		{"apply", false, "2.0.0", false},
		{"probe", false, "2.0.0", false},
		{"rewrite", true, "1.0.0", false},
		{"stop", true, "1.0.0", true},
		{"stop", true, "2.0.0", false}, // whatever the journal says
	} {
		w := sound()
		w.runs, w.open, w.holder, w.current = false, true, "1.0.0", c.current
		w.record = engine.Record{Step: c.step, Back: c.back, Update: engine.Update{Component: name, Down: engine.Moment{Boot: "b"}}}
		before := *w
		r := w.recovery(t, store.Damage{Found: errors.New("broken"), Volatile: true})
		r.Check([]string{name})
		err := r.Keep(t.Context(), name)
		if w.runs != c.runs || c.runs != (err == nil) || c.runs == strings.Contains(r.Fault(), "stays stopped") {
			t.Errorf("%s, back %v, %s: runs %v, %v, %q", c.step, c.back, c.current, w.runs, err, r.Fault())
		}
		if w.current != before.current || w.holder != before.holder {
			t.Errorf("%s: something was touched: %+v", c.step, w)
		}
	}
}

// TestNothingToRepair: nothing changes, and an agent that can keep nothing
// says so.
func TestNothingToRepair(t *testing.T) {
	w := sound()
	r := w.recovery(t, store.Damage{})
	r.Check([]string{name})
	if err := r.Repair(t.Context(), []string{name}); err != nil || w.outcome != nil || r.Fault() != "" {
		t.Errorf("%v, %+v, %q", err, w.outcome, r.Fault())
	}
}
