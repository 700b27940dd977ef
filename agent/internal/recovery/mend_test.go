package recovery

import (
	"errors"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/agent/internal/store"
)

// TestMend: what an operator decides is done, or it is told why not; a
// component that was apart runs then, and what it had is saved.
func TestMend(t *testing.T) {
	apart := func(w *world) {
		w.current, w.runs, w.holder, w.whole = "2.0.0", false, "1.0.0", map[string]bool{"2.0.0": true}
	}
	for _, c := range []struct {
		name    string
		harm    func(*world)
		restore state.Generation
		left    bool // to an update
		result  string
		cause   string
		runs    bool
		parked  string
	}{
		{name: "keep", harm: apart, result: engine.Unchanged, cause: "version 2.0.0 goes on with the state that it has", runs: true},
		{name: "restore", harm: apart, restore: 7, result: engine.Updated, cause: "goes on with generation 7; the state that it had is generation 8", runs: true, parked: "1.0.0"},
		{name: "of what is not saved", harm: apart, restore: 6, result: engine.Refused, cause: "generation 6 cannot become the state of version 2.0.0: there is none"},
		{name: "it cannot be put in place", harm: func(w *world) { apart(w); w.unfit = true }, restore: 7, result: engine.Inconsistent, cause: "no space", parked: "1.0.0"},
		{name: "it does not run", harm: func(w *world) { apart(w); w.whole["2.0.0"] = false }, result: engine.Inconsistent, cause: "but it does not run"},
		{name: "its package is nowhere", harm: func(w *world) { apart(w); w.published = false }, result: engine.Refused, cause: "publish the package of version 2.0.0"},
		{name: "an update is open", harm: func(w *world) { apart(w); w.open = true }, result: engine.Refused, cause: "has not ended"},
		{name: "nothing is installed", harm: func(w *world) { w.current, w.runs = "", false }, result: engine.Refused, cause: "nothing is installed"},
		{name: "all is well", harm: func(*world) {}, result: engine.Unchanged, cause: "goes on with the state that it has", runs: true},
		{name: "all is well, another state", harm: func(*world) {}, restore: 7, left: true, runs: true},
		{name: "its state is gone", harm: func(w *world) { w.gone, w.runs = true, false }, restore: 7, result: engine.Updated, cause: "what it had before was of no known version", runs: true},
		{name: "there is nothing to keep", harm: func(w *world) { w.gone, w.runs = true, false }, result: engine.Refused, cause: "choose a saved one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := sound()
			c.harm(w)
			r := w.recovery(t, store.Damage{})
			left, err := r.Mend(t.Context(), engine.Update{ID: "u", Component: name, Repair: 3, Restore: c.restore})
			if left != c.left || err != nil || w.runs != c.runs || w.parked != c.parked {
				t.Errorf("left %v, runs %v, saved %q: %v", left, w.runs, w.parked, err)
			}
			if o := w.outcome; c.left == (o != nil) || o != nil && (o.Result != c.result || !strings.Contains(o.Cause, c.cause) || o.Repair != 3 || o.Update != "u") {
				t.Errorf("outcome %+v", o)
			}
			if c.runs && (w.holder != "" && w.holder != w.current || w.installed.Version != w.current) {
				t.Errorf("it does not belong together: %+v", w)
			}
		})
	}
}

// TestMendAgain: after a crash in the middle it is done again, and the
// component that was never apart is not stopped for it.
func TestMendAgain(t *testing.T) {
	w := sound()
	w.current, w.runs, w.holder, w.unfit = "2.0.0", false, "1.0.0", true
	w.whole["2.0.0"] = true
	for range 2 {
		r := w.recovery(t, store.Damage{})
		if _, err := r.Mend(t.Context(), engine.Update{ID: "u", Component: name, Repair: 3, Restore: 7}); err != nil {
			t.Fatal(err)
		}
		w.unfit = false
	}
	if !w.runs || w.outcome.Result != engine.Updated || len(w.installed.Held) != 2 {
		t.Errorf("%+v, %+v", w, w.outcome)
	}
	w.outcome = nil
	r := w.recovery(t, store.Damage{})
	if err := r.Settle(t.Context(), name); err != nil || w.outcome != nil || errors.Is(err, ErrApart) {
		t.Errorf("%v, %+v", err, w.outcome)
	}
}
