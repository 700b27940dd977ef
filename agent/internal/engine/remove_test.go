package engine

import (
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
)

// TestRemove: a component that is removed leaves its last state behind, or
// none; one that comes back has that, and one that is installed anew begins
// anew.
func TestRemove(t *testing.T) {
	p := build(t, "1m")
	for what, kept := range map[string]bool{RemoveKeep: true, RemovePurge: false} {
		w, e := newUpdated(t, p)
		live := w.state
		o, err := w.ask(t, e, Update{Wish: Wish{Remove: what}})
		if err != nil || o.Result != Removed || o.From != "2.0.0" || o.To != "" || !w.reported {
			t.Fatalf("%s: %+v, %v", what, o, err)
		}
		if w.running != "" || w.current != "" || w.installed.Version != "" || len(w.staged) != 0 || w.state == live {
			t.Errorf("%s: %q runs of %q on %q, staged %v, installed %+v", what, w.running, w.current, w.state, w.staged, w.installed)
		}
		entries, err := e.Transform.List(component, state.Needs{})
		if back := e.WayBack(component, w.installed); err != nil || (len(entries) > 0) != kept || (back != nil) != kept {
			t.Fatalf("%s: saved %v, way back %+v, %v", what, entries, back, err)
		}
		if !kept {
			if o, err := w.ask(t, e, Update{Wish: Wish{Remove: what}}); err != nil || o.Result != Refused {
				t.Errorf("removed twice: %+v, %v", o, err)
			}
			continue
		}
		back := e.WayBack(component, w.installed)
		if back.Version != "2.0.0" || back.State != StateSaved {
			t.Fatalf("way back %+v", back)
		}
		w.set(func() { w.failAt, w.failOnce = "start2.0.0", true })
		again := Update{Wish: Wish{Version: back.Version, State: back.State}}
		if o, err := w.ask(t, e, again); err != nil || o.Result != TurnedBack || w.current != "" || w.state != "" {
			t.Errorf("it could not start: %+v, %v: %q on %q", o, err, w.current, w.state)
		}
		o, err = w.ask(t, e, again)
		if err != nil || o.Result != Updated || w.running != "2.0.0" || w.state != live+"+" {
			t.Errorf("back again: %+v, %v: %q runs on %q, which was %q", o, err, w.running, w.state, live)
		}
	}
}

// TestPowerCutsOfARemoval: the power fails after any of its operations, with
// steps that fail once: the component is gone and its state is kept, or it
// runs on its state.
func TestPowerCutsOfARemoval(t *testing.T) {
	p := build(t, "1m")
	for _, failAt := range []string{"", "quiesce", "stop", "save", "switch", "apply"} {
		t.Run("fail="+failAt, func(t *testing.T) {
			t.Parallel()
			for cut := 0; !cutRemoval(t, p, failAt, cut) && !t.Failed(); cut++ {
			}
		})
	}
}

func cutRemoval(t *testing.T, p packages, failAt string, cut int) (whole bool) {
	w, e := newUpdated(t, p)
	live := w.state
	w.set(func() { w.budget, w.failAt, w.failOnce = cut, failAt, true })
	u := Update{Wish: Wish{Remove: RemoveKeep}}
	o, err := w.ask(t, e, u)
	if w.journal != nil && w.journal.Format != 3 {
		t.Errorf("cut after %d: the record of step %s has format %d", cut, w.journal.Step, w.journal.Format)
	}
	if whole = err == nil; !whole {
		w.set(func() { w.budget = -1 })
		o, err = w.ask(t, e, u)
	}
	switch {
	case err != nil || o.Result == Inconsistent || o.Result != Removed && failAt == "":
		t.Errorf("cut after %d: %+v, %v", cut, o, err)
	case o.Result == Removed:
		back := e.WayBack(component, w.installed)
		if w.running != "" || w.current != "" || w.installed.Version != "" || len(w.staged) != 0 || back == nil || back.Way != WaySaved {
			t.Errorf("cut after %d: %q runs of %q, staged %v, way back %+v", cut, w.running, w.current, w.staged, back)
		}
	case w.running != "2.0.0" || w.current != "2.0.0" || w.installed.Version != "2.0.0" || len(w.staged) != 1 || w.state[:len(live)] != live:
		t.Errorf("cut after %d: %+v: %q runs of %q on %q, staged %v", cut, o, w.running, w.current, w.state, w.staged)
	}
	return whole
}
