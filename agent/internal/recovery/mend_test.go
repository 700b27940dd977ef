package recovery

import (
	"context"
	"errors"
	"slices"
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
			if left != c.left || err != nil || w.runs != c.runs || strings.Join(w.parked, ",") != c.parked {
				t.Errorf("left %v, runs %v, saved %q: %v", left, w.runs, w.parked, err)
			}
			if o := w.outcome; c.left == (o != nil) || o != nil && (o.Result != c.result || !strings.Contains(o.Cause, c.cause) || o.Repair != 3 || o.Kind != engine.KindRepair || o.Update != "u") {
				t.Errorf("outcome %+v", o)
			}
			if c.runs && (w.holder != "" && w.holder != w.current || w.installed.Version != w.current) {
				t.Errorf("it does not belong together: %+v", w)
			}
		})
	}
}

// TestMendAgain: after a crash or a failure it is done again. What was live
// before it began is held, and named, whatever is live by then; and the
// component that is together then is not stopped for it.
func TestMendAgain(t *testing.T) {
	const original = "the state that it had is generation 8"
	for _, c := range []struct {
		name   string
		harm   func(*world)
		first  int64
		again  int64
		cause  string
		parked string
	}{
		{"cut before the hand-over", func(w *world) { w.cut = "before" }, 3, 3, original, "1.0.0"},
		{"cut in it", func(w *world) { w.cut = "in" }, 3, 3, original, "1.0.0"},
		{"cut after it", func(w *world) { w.cut = "after" }, 3, 3, original, "1.0.0"},
		{"cut in it, another repair", func(w *world) { w.cut = "in" }, 3, 4, original, "1.0.0"},
		{"cut in it, at the device", func(w *world) { w.cut = "in" }, engine.RepairHere, engine.RepairHere, original, "1.0.0"},
		{"cut after it, it has run", func(w *world) { w.cut, w.end = "after", func() { w.runs = true } }, 3, 3, "generation 9", "1.0.0,2.0.0"},
		{"it cannot be put in place", func(w *world) { w.unfit = true }, 3, 4, "generation 9", "1.0.0,1.0.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := sound()
			w.current, w.runs, w.holder = "2.0.0", false, "1.0.0"
			w.whole["2.0.0"] = true
			c.harm(w)
			ctx, cancel := context.WithCancel(t.Context())
			end := w.end
			w.end = func() {
				cancel()
				if end != nil {
					end()
				}
			}
			_, err := w.recovery(t, store.Damage{}).Mend(ctx, engine.Update{ID: "u", Component: name, Repair: c.first, Restore: 7})
			if !slices.Contains(w.installed.Held, 8) || !slices.Contains(w.installed.Held, 7) || w.installed.Version != "1.0.0" || (err == nil) != w.unfit {
				t.Errorf("in between %+v: %v", w.installed, err)
			}
			w.unfit, w.end = false, nil
			r := w.recovery(t, store.Damage{})
			if _, err := r.Mend(t.Context(), engine.Update{ID: "v", Component: name, Repair: c.again, Restore: 7}); err != nil {
				t.Fatal(err)
			}
			if !w.runs || w.outcome.Result != engine.Updated || !strings.Contains(w.outcome.Cause, c.cause) || strings.Join(w.parked, ",") != c.parked {
				t.Errorf("%+v, %+v", w, w.outcome)
			}
			if i := w.installed; i.Version != "2.0.0" || len(i.Held) != 1+len(w.parked) || !slices.Contains(i.Held, 8) || i.Parked != nil {
				t.Errorf("installed %+v", i)
			}
			w.outcome = nil
			r = w.recovery(t, store.Damage{})
			if err := r.Settle(t.Context(), name); err != nil || w.outcome != nil || errors.Is(err, ErrApart) {
				t.Errorf("%v, %+v", err, w.outcome)
			}
		})
	}
}

// TestMendCutAndSettled: what the device learns by itself after the cut does
// not let go of what was live before.
func TestMendCutAndSettled(t *testing.T) {
	w := sound()
	w.current, w.runs, w.holder, w.cut = "2.0.0", false, "1.0.0", "after"
	w.whole["2.0.0"] = true
	ctx, cancel := context.WithCancel(t.Context())
	w.end = cancel
	if _, err := w.recovery(t, store.Damage{}).Mend(ctx, engine.Update{ID: "u", Component: name, Repair: 3, Restore: 7}); err == nil {
		t.Fatal("the power has not gone")
	}
	w.end = nil
	err := w.recovery(t, store.Damage{}).Settle(t.Context(), name)
	if i := w.installed; err != nil || i.Version != "2.0.0" || !slices.Contains(i.Held, 8) || i.Parked != nil {
		t.Errorf("installed %+v: %v", i, err)
	}
}
