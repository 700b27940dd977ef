package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A crowded world has no room for a second copy of its state: the old version
// does not start while a snapshot shares its files.
type crowded struct {
	telling
	home string // directory of its states
}

func (c crowded) Start(ctx context.Context, r updater.StartRequest) error {
	if err := c.shared(); err != nil && c.version(&c.current) == "1.0.0" && c.version(&c.running) == "" {
		return err
	}
	return c.telling.Start(ctx, r)
}

// shared returns an error if there is a generation without a seal.
func (c crowded) shared() error {
	all, err := filepath.Glob(filepath.Join(c.home, "[0-9]*"))
	for _, dir := range all {
		if _, err := os.Stat(filepath.Join(dir, "seal.json")); err != nil {
			return errors.New("no space left to copy what " + filepath.Base(dir) + " shares")
		}
	}
	return err
}

func newCrowded(t *testing.T, p packages) (*world, *Engine) {
	t.Helper()
	w, e := newTelling(t, p)
	dir, err := e.States.Fresh(component, 1)
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Dir(filepath.Dir(dir))
	if err := e.States.Drop(component, 1); err != nil {
		t.Fatal(err)
	}
	e.connect(t, crowded{telling{stateful{w}}, home})
	return w, e
}

// TestBegin: the power fails after every operation of an update that waits, or
// that turns back, and comes back to a disk without room. The old version runs
// before the update goes on, and in the end if that does not succeed.
func TestBegin(t *testing.T) {
	patient, hasty := build(t, "1m"), build(t, "20ms")
	for _, failAt := range []string{"", "snapshot", "run", "quiesce", "apply", "probe2.0.0"} {
		p := patient
		if failAt == "probe2.0.0" {
			p = hasty // it never gets healthy
		}
		for _, waits := range []bool{false, true} {
			cutEverywhere(t, "begin/fail="+failAt, func(t *testing.T, cut int) bool {
				w, e := newCrowded(t, p)
				if waits {
					e.Permit = func(Update) error { return Wait{For: "consent"} }
				}
				w.set(func() { w.budget, w.failAt, w.failOnce = cut, failAt, failAt != "probe2.0.0" })
				_, err := w.update(t, e, "2.0.0")
				whole := w.budget != 0
				w.set(func() { w.budget, w.failAt, w.running = -1, "", "" })
				e.Permit = nil
				begin := func() {
					h, _ := e.updater(t.Context(), &Update{Component: component})
					if err := e.Begin(t.Context(), h, component); err != nil {
						t.Errorf("cut after %d: %v", cut, err)
					}
				}
				if w.journal == nil || !w.journal.Stopped() {
					begin()
				}
				if err == nil {
					return whole
				}
				if w.journal != nil {
					w.journal.Update.Announced.Boot = "an earlier one"
				}
				o, err := w.update(t, e, "2.0.0")
				if err != nil {
					t.Errorf("cut after %d: %v", cut, err)
				}
				begin()
				w.check(t, o)
				return whole
			})
		}
	}
}

// TestRebootInProbation: the new version did not fail, the device was rebooted.
func TestRebootInProbation(t *testing.T) {
	w, e := newTelling(t, build(t, "1m"))
	tell, cut := e.Tell, false
	e.Tell = func(p Progress) {
		if tell(p); p.Step == "probe" && !cut {
			cut = true
			w.off()
		}
	}
	if _, err := w.update(t, e, "2.0.0"); err == nil || w.journal.Step != "probe" {
		t.Fatalf("not cut off: %v, %+v", err, w.journal)
	}
	w.running, w.journal.Update.Announced.Boot = "", "an earlier one"
	o, err := w.update(t, e, "2.0.0")
	if err != nil || o.Result != Updated {
		t.Errorf("%+v, %v", o, err)
	}
	w.check(t, o)
}

// TestBeginsDependants: also one that an update of another component has
// stopped, whose own update waits.
func TestBeginsDependants(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	furnish(t, w, e)
	dir, err := e.States.Fresh(reader, 7)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := w.update(t, e, "2.0.0"); err != nil || o.Result != Updated {
		t.Fatalf("%+v, %v", o, err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the snapshot of the dependant's state is there still")
	}
}

// TestBeginLeavesWhatRuns: the rehearsal of a component that runs is of use.
func TestBeginLeavesWhatRuns(t *testing.T) {
	_, e := newTelling(t, build(t, "1m"))
	dir, err := e.States.Fresh(component, 7)
	if err != nil {
		t.Fatal(err)
	}
	h, _ := e.updater(t.Context(), &Update{Component: component})
	if err := e.Begin(t.Context(), h, component); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}
