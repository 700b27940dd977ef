package engine

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A house is a world in which another component depends on the first.
type house struct {
	*world
	runs    bool
	unready bool
	stuck   bool // the component cannot be brought back
	t       *testing.T
}

const reader = "application/reader"

func (h *house) Stops(string) []string { return []string{reader, "application/not-installed"} }

func (h *house) Await(_ context.Context, _, update string) error {
	if h.unready {
		return errors.New("reader")
	}
	return nil
}

func (h *house) Load(c string) (Record, bool, error) {
	if c == reader {
		return Record{}, false, nil
	}
	return h.world.Load(c)
}

func (h *house) Everything() (map[string]Installed, error) {
	return map[string]Installed{component: h.installed, reader: {Version: "1.0.0"}}, nil
}

// A door tells the two components apart, which one updater has.
type door struct {
	stateful
	h *house
}

func (d door) Start(ctx context.Context, r updater.StartRequest) error {
	if r.Component != reader {
		if d.h.runs {
			d.h.t.Error("the dependant runs while the component is away")
		}
		return d.stateful.Start(ctx, r)
	}
	return d.h.op("start reader", func() error {
		if d.h.running == "" && !d.h.stuck {
			d.h.t.Error("the dependant starts before the component")
		}
		d.h.runs = true
		return nil
	})
}

func (d door) Stop(ctx context.Context, r updater.StopRequest) (updater.StopResponse, error) {
	if r.Component != reader {
		return d.stateful.Stop(ctx, r)
	}
	return updater.StopResponse{}, d.h.op("stop reader", func() error { d.h.runs = false; return nil })
}

func (d door) Quiesce(ctx context.Context, r updater.QuiesceRequest) error {
	if r.Component == reader {
		return errors.New("it never rests")
	}
	return d.stateful.Quiesce(ctx, r)
}

// furnish adds the dependant to a world.
func furnish(t *testing.T, w *world, e *Engine) *house {
	t.Helper()
	h := &house{world: w, runs: true, t: t}
	client, err := updater.Connect(t.Context(), "application", door{stateful{w}, h}, e.Log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Kill)
	e.Updater = func(context.Context, string) (*updater.Client, error) { return client, nil }
	e.Dependants, e.Inventory, e.Journal = h, h, h
	return h
}

// TestDependantsThroughPowerCuts: wherever the power fails, in an update that
// succeeds and in ones that turn back, the dependant is stopped while the
// component is, and runs in the end. TRANQUIL_CUTS=all cuts after every
// operation instead of every third.
func TestDependantsThroughPowerCuts(t *testing.T) {
	p, stride := build(t, "1m"), 3
	if os.Getenv("TRANQUIL_CUTS") == "all" {
		stride = 1
	}
	for _, failAt := range []string{"", "quiesce", "apply", "stop reader", "start reader"} {
		t.Run(failAt, func(t *testing.T) {
			t.Parallel()
			for cut := len(failAt) % stride; ; cut += stride {
				w, e := newWorld(t, p)
				h := furnish(t, w, e)
				w.budget, w.failAt, w.failOnce = cut, failAt, true
				o, err := w.update(t, e, "2.0.0")
				whole := err == nil
				if !whole {
					w.budget = -1
					o, err = w.update(t, e, "2.0.0")
				}
				if err != nil || o.Result == Inconsistent || !h.runs {
					t.Fatalf("cut after %d: %+v, %v, dependant runs %v", cut, o, err, h.runs)
				}
				w.check(t, o)
				if whole || t.Failed() {
					return
				}
			}
		})
	}
}

// TestDependantsAreNotReady: the update goes on, and says so.
func TestDependantsAreNotReady(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	w.budget = -1
	furnish(t, w, e).unready = true
	o, err := w.update(t, e, "2.0.0")
	if err != nil || o.Result != Updated || !o.Forced || !strings.Contains(o.Rest, "dependants need it: reader") {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestInconsistentLetsDependantsGo: also then they run.
func TestInconsistentLetsDependantsGo(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	h := furnish(t, w, e)
	w.budget, w.failAt, h.stuck = -1, "switch", true
	o, err := w.update(t, e, "2.0.0")
	if err != nil || o.Result != Inconsistent || len(o.Cause) == 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	if w.journal != nil || !h.runs {
		t.Errorf("journal %+v, dependant runs %v", w.journal, h.runs)
	}
}
