package engine

import (
	"strings"
	"testing"
)

// forsaking are the ways out of a version that hands over no state, which is 2.0.0
// on a device that has a saved state of 1.0.0, and what they leave: the version that
// runs, and the beginning of its state.
var forsaking = map[string]struct {
	ask     Update
	result  string
	version string
	state   string
}{
	"an update":                {Update{Wish: Wish{Version: "1.0.0"}}, Refused, "2.0.0", "schema 2 value 42+"},
	"a removal":                {Update{Wish: Wish{Remove: RemoveKeep}}, TurnedBack, "2.0.0", "schema 2 value 42+"},
	"an update that may do so": {Update{Wish: Wish{Version: "1.0.0", State: StateOptional}}, Updated, "1.0.0", "schema 1 anew"},
	"a saved state":            {Update{Wish: Wish{Version: "1.0.0", State: StateSaved}}, Refused, "2.0.0", "schema 2 value 42+"},
	"a restore":                {Update{Restore: 1}, Refused, "2.0.0", "schema 2 value 42+"},
	"one of these, at the device, that may do so": {Update{Losing: true, Wish: Wish{Version: "1.0.0", State: StateSaved}}, Updated, "1.0.0", "schema 1 value 42"},
	"a purge": {Update{Wish: Wish{Remove: RemovePurge}}, Removed, "", ""},
}

// TestForsake: what cannot be saved keeps nobody from what needs no state, and the
// outcome says what is lost; whoever does not say so loses nothing.
func TestForsake(t *testing.T) {
	p := build(t, "1m")
	for name, way := range forsaking {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := newUpdated(t, p)
			if way.ask.Restore != 0 {
				way.ask.Restore = restorable(t, e, 1)
			}
			w.set(func() { w.mute = true })
			o, err := w.ask(t, e, way.ask)
			if err != nil || o.Result != way.result || w.running != way.version || w.current != way.version || !strings.HasPrefix(w.state, way.state) {
				t.Fatalf("%+v, %v: %q runs on %q", o, err, w.running, w.state)
			}
			said := strings.Contains(strings.Join(o.Warnings, "\n"), errMute.Error())
			if lost := o.Result == Updated || o.Result == Removed; said != lost {
				t.Errorf("warnings %q", o.Warnings)
			}
			if back := w.installed.Previous; back != nil && back.Version == "2.0.0" && back.Saved != 0 {
				t.Errorf("the way back leads to what was not saved: %+v", back)
			}
		})
	}
}

// TestForsakeNothing: a state that can be saved is not lost because it might be.
func TestForsakeNothing(t *testing.T) {
	w, e := newUpdated(t, build(t, "1m"))
	o, err := w.ask(t, e, Update{Wish: Wish{Version: "1.0.0", State: StateOptional}})
	if err != nil || o.Result != Updated || o.Kind != KindRollback || w.state != "schema 1 value 42+" || len(o.Warnings) != 0 || w.installed.Previous.Saved == 0 {
		t.Errorf("%+v, %v: %q, %+v", o, err, w.state, w.installed.Previous)
	}
}

// TestForsakeAndTurnBack: the version before runs again, without what nobody has.
func TestForsakeAndTurnBack(t *testing.T) {
	w, e := newUpdated(t, build(t, "1m"))
	w.set(func() { w.mute, w.failAt = true, "start1.0.0" })
	o, err := w.ask(t, e, Update{Wish: Wish{Version: "1.0.0", State: StateOptional}})
	if err != nil || o.Result != TurnedBack || w.running != "2.0.0" || w.state != "schema 2 anew+" || len(o.Warnings) == 0 {
		t.Errorf("%+v, %v: %q runs on %q", o, err, w.running, w.state)
	}
}

// TestPowerCutsWhileForsaking: the power fails after any of their operations.
func TestPowerCutsWhileForsaking(t *testing.T) {
	p := build(t, "1m")
	for _, name := range []string{"an update that may do so", "a purge"} {
		way := forsaking[name]
		cutEverywhere(t, name, func(t *testing.T, cut int) (whole bool) {
			w, e := newUpdated(t, p)
			w.set(func() { w.mute, w.budget = true, cut })
			o, err := w.ask(t, e, way.ask)
			if whole = err == nil; !whole {
				w.set(func() { w.budget = -1 })
				o, err = w.ask(t, e, way.ask)
			}
			if err != nil || o.Result != way.result || w.running != way.version || !strings.HasPrefix(w.state, way.state) {
				t.Errorf("cut after %d: %+v, %v: %q runs on %q", cut, o, err, w.running, w.state)
			}
			return whole
		})
	}
}
