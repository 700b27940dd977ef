package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
)

// newUpdated is a device on which version 2 runs, after version 1. Version 1
// has left "schema 1 value 42" behind, and version 2 has stored something
// since.
func newUpdated(t *testing.T, p packages) (*world, *Engine) {
	t.Helper()
	w, e := newWorld(t, p)
	if o, err := w.update(t, e, "2.0.0"); err != nil || o.Result != Updated {
		t.Fatalf("cannot update: %+v, %v", o, err)
	}
	w.outcome, w.reported = nil, false
	return w, e
}

// ask runs an update until it has ended or the power is lost.
func (w *world) ask(t *testing.T, e *Engine, u Update) (Outcome, error) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.set(func() { w.off = cancel })
	u.ID, u.Component, u.From = "u", component, w.installed
	return e.Run(ctx, u)
}

// The ways back after commit, and what they make of the state "schema 2 value
// 42+".
var ways = map[string]struct {
	ask     Update
	version string
	state   string // the beginning of it
	format  int    // of the journal
}{
	"transforms":  {Update{Wish: Wish{Version: "1.0.0", State: StateTransform}}, "1.0.0", "schema 1 value 42+", 1},
	"saved state": {Update{Wish: Wish{Version: "1.0.0", State: StateSaved}}, "1.0.0", "schema 1 value 42", 2},
	"restore":     {Update{Restore: 3}, "2.0.0", "schema 2 value 42", 2},
}

func TestWayBack(t *testing.T) {
	p := build(t, "1m")
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			w, e := newUpdated(t, p)
			back := e.WayBack(component, w.installed)
			if back == nil || back.Version != "1.0.0" || back.Way != WayTransforms || back.SavedAt.IsZero() || back.Loses != "nothing" {
				t.Fatalf("way back %+v", back)
			}
			way.ask.Restore = restorable(t, e, way.ask.Restore)
			o, err := w.ask(t, e, way.ask)
			if err != nil || o.Result != Updated {
				t.Fatalf("%+v, %v", o, err)
			}
			want := way.state
			if way.version == "2.0.0" {
				want += "+" // it has started on that
			}
			if w.running != way.version || w.installed.Version != way.version || w.state != want || !w.reported {
				t.Errorf("%s runs on %q, installed %+v", w.running, w.state, w.installed)
			}
			if len(w.staged) != 1 || !w.staged[way.version] {
				t.Errorf("staged %v", w.staged)
			}
			again := e.WayBack(component, w.installed)
			if other := map[string]string{"1.0.0": "2.0.0", "2.0.0": "1.0.0"}[way.version]; again == nil || again.Version != other {
				t.Errorf("the next way back: %+v", again)
			}
		})
	}
}

// Two generations are kept. After an update and its way back, two restores
// one after the other lose nothing: what the first one has saved and brought
// back stays until the next update.
func TestRestoresLoseNothing(t *testing.T) {
	w, e := newUpdated(t, build(t, "1m"))
	run := func(u Update) (all []state.Generation) {
		t.Helper()
		if o, err := w.ask(t, e, u); err != nil || o.Result != Updated {
			t.Fatalf("%+v, %v", o, err)
		}
		entries, err := e.Transform.List(component, w.installed.Needs())
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			all = append(all, entry.Generation)
		}
		return all
	}
	states := e.States.(*state.Manager)
	states.Keep = 4 // here the updater leaves the new state too
	run(Update{Wish: Wish{Version: "1.0.0"}})
	oldest := w.installed.Previous.Saved
	run(Update{Wish: Wish{Version: "2.0.0"}})
	back := w.installed.Previous.Saved
	states.Keep = 2
	for _, u := range []Update{{Restore: oldest}, {Restore: back}} {
		earlier := w.installed.Held
		kept, held := run(u), w.installed.Held
		if len(held) != len(earlier)+2 {
			t.Errorf("held %v, then %v", earlier, held)
		}
		for _, gen := range append(held, oldest, back) {
			if !slices.Contains(kept, gen) {
				t.Errorf("after restore of %d, %d is not in %v", u.Restore, gen, kept)
			}
		}
	}
	if kept := run(Update{Wish: Wish{Version: "1.0.0"}}); len(kept) > 3 || slices.Contains(kept, oldest) || w.installed.Held != nil {
		t.Errorf("after the next update %v, held %v", kept, w.installed.Held)
	}
}

// restorable stands for the state of version 1 where a way asks for one.
func restorable(t *testing.T, e *Engine, asked state.Generation) state.Generation {
	t.Helper()
	entry, err := e.lastOf(component, "1.0.0", 1)
	if err != nil {
		t.Fatal(err)
	}
	if asked == 0 {
		return 0
	}
	return entry.Generation
}

// The power fails after every operation of every way back, with steps that
// fail always or once: the component ends on one version with the state that
// belongs to it, and an agent of format 1 never finds a record it would
// misread. TRANQUIL_CUTS=all cuts after every operation rather than every
// third, and has more steps fail.
func TestPowerCutsOfTheWaysBack(t *testing.T) {
	p := build(t, "1m")
	failures, every := []string{"", "copy", "apply"}, 3
	if os.Getenv("TRANQUIL_CUTS") == "all" {
		every = 1
		failures = append(failures, "run", "quiesce", "stop", "save", "switch", "stage", "start1.0.0", "start2.0.0")
	}
	for name := range ways {
		for _, failAt := range failures {
			t.Run(name+"/fail="+failAt, func(t *testing.T) {
				t.Parallel()
				for cut := 0; ; cut += every {
					if whole := cutWay(t, p, name, failAt, cut); whole || t.Failed() {
						return
					}
				}
			})
		}
	}
}

func cutWay(t *testing.T, p packages, name, failAt string, cut int) (whole bool) {
	w, e := newUpdated(t, p)
	way := ways[name]
	way.ask.Restore = restorable(t, e, way.ask.Restore)
	w.set(func() { w.budget, w.failAt, w.failOnce = cut, failAt, true })
	o, err := w.ask(t, e, way.ask)
	if w.journal != nil && w.journal.Format != way.format {
		t.Errorf("cut after %d: the record of step %s has format %d", cut, w.journal.Step, w.journal.Format)
	}
	if whole = err == nil; !whole {
		w.set(func() { w.budget = -1 })
		o, err = w.ask(t, e, way.ask)
	}
	version, begins := way.version, way.state
	if o.Result != Updated {
		version, begins = "2.0.0", "schema 2 value 42+"
	}
	switch {
	case err != nil || o.Result == Inconsistent || o.Result == Refused && failAt == "":
		t.Errorf("cut after %d: %+v, %v", cut, o, err)
	case w.running != version || w.installed.Version != version || w.current != version || strings.TrimRight(w.state, "+") != strings.TrimRight(begins, "+"):
		t.Errorf("cut after %d: %+v: %s runs on %q, installed %s", cut, o, w.running, w.state, w.installed.Version)
	case len(w.staged) != 1 || !w.staged[version]:
		t.Errorf("cut after %d: %+v: staged %v", cut, o, w.staged)
	case w.installed.Previous == nil:
		t.Errorf("cut after %d: the way back is forgotten", cut)
	}
	return whole
}

// An older agent does not see a generation that it does not know of.
func TestFormatOfRecords(t *testing.T) {
	for name, test := range map[string]struct {
		update Update
		want   int
	}{
		"an update":           {Update{Wish: Wish{Version: "2.0.0"}}, 1},
		"back by transforms":  {Update{Wish: Wish{Version: "1.0.0", State: StateTransform}}, 1},
		"back to saved state": {Update{Wish: Wish{Version: "1.0.0", State: StateSaved}}, 2},
		"restore":             {Update{Restore: 1}, 2},
		"removal":             {Update{Wish: Wish{Remove: RemoveKeep}}, 3},
		"state may be lost":   {Update{Wish: Wish{Version: "2.0.0", State: StateOptional}}, 4},
		"so, at the device":   {Update{Losing: true, Wish: Wish{Version: "1.0.0", State: StateSaved}}, 4},
		"state is lost":       {Update{Wish: Wish{Remove: RemovePurge}, Lost: true}, 4},
	} {
		if got := test.update.format(); got != test.want {
			t.Errorf("%s: format %d, want %d", name, got, test.want)
		}
	}
}

// TestRecordOfFormat2 is TestRecordOfFormat1 for what format 2 has added.
func TestRecordOfFormat2(t *testing.T) {
	r := fullRecord()
	r.Format, r.Update.Restore, r.Update.RestoreSchema, r.Update.Wish.State = 2, 5, 1, StateSaved
	r.Update.To.Previous = &Previous{Version: "1.0.0", Schema: 1, Epoch: 2, Digest: "sha256:1.0.0", Saved: 9, Transforms: transformsLossy}
	sameAsFixture(t, "record-2.json", r)
}

// What cannot be gone back to is refused before anything is touched.
func TestWayBackRefused(t *testing.T) {
	p := build(t, "1m")
	for name, test := range map[string]struct {
		harm  func(*testing.T, *world, *Engine)
		ask   Update
		cause string
	}{
		"no such generation": {nil, Update{Restore: 99}, "there is no generation 99 of " + component + "; there are: "},
		"damaged generation": {func(t *testing.T, w *world, e *Engine) {
			dir, _, err := e.States.Load(t.Context(), component, restorable(t, e, 1))
			if err = errors.Join(err, os.WriteFile(filepath.Join(dir, "state"), []byte("other"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}, Update{Wish: Wish{Version: "1.0.0", State: StateSaved}}, "differ from the seal"},
		"of another component": {func(t *testing.T, w *world, e *Engine) {
			gen := restorable(t, e, 1)
			mine, _, err := e.States.Load(t.Context(), component, gen)
			other, again := e.States.Fresh("application/other", gen)
			err = errors.Join(err, again, os.WriteFile(filepath.Join(other, "state"), []byte("schema 1 value 13"), 0o600),
				e.States.Seal(t.Context(), "application/other", gen, state.Meta{Schema: 1, Version: "1.0.0"}))
			mine, other = filepath.Dir(mine), filepath.Dir(other)
			if err = errors.Join(err, os.RemoveAll(mine), os.Rename(other, mine)); err != nil {
				t.Fatal(err)
			}
		}, Update{Wish: Wish{Version: "1.0.0", State: StateSaved}}, "of application/other: put each directory back"},
		"no saved state": {func(t *testing.T, w *world, e *Engine) {
			if err := e.States.Drop(component, restorable(t, e, 1)); err != nil {
				t.Fatal(err)
			}
		}, Update{Wish: Wish{Version: "1.0.0", State: StateSaved}}, "no saved state of version 1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			w, e := newUpdated(t, p)
			if test.harm != nil {
				test.harm(t, w, e)
			}
			before := fmt.Sprint(w.running, w.state, w.ran, w.staged)
			o, err := w.ask(t, e, test.ask)
			if err != nil || o.Result != Refused || !strings.Contains(o.Cause, test.cause) {
				t.Errorf("%+v, %v", o, err)
			}
			if after := fmt.Sprint(w.running, w.state, w.ran, w.staged); after != before {
				t.Errorf("%s became %s", before, after)
			}
		})
	}
}

// With KeepPackages nothing has to be fetched for the way back.
func TestBackWithoutTheFileServer(t *testing.T) {
	p := build(t, "1m")
	w, e := newWorld(t, p)
	e.KeepPackages = true
	for _, version := range []string{"2.0.0", "1.0.0", "2.0.0"} { // version 1 was installed without
		if o, err := w.update(t, e, version); err != nil || o.Result != Updated {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	back := e.WayBack(component, w.installed)
	if !back.Kept {
		t.Errorf("the package is not kept: %+v", back)
	}
	w.packages = nil
	o, err := w.ask(t, e, Update{Wish: Wish{Version: "1.0.0", Package: back.Package}})
	if err != nil || o.Result != Updated || w.running != "1.0.0" {
		t.Errorf("%+v, %v", o, err)
	}
}
