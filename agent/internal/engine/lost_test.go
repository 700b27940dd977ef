package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A keeping world keeps the state that it has saved last.
type keeping struct {
	telling
	saved map[string]string // by directory
}

func (k keeping) Save(ctx context.Context, r updater.SaveRequest) error {
	k.set(func() { k.saved[r.Dir] = k.state })
	return k.telling.Save(ctx, r)
}

func (k keeping) TakeBack(_ context.Context, r updater.TakeBackRequest) error {
	return k.op("takeBack", func() error {
		kept, found := k.saved[r.Dir]
		if !found {
			return fmt.Errorf("not kept: %w", errors.ErrUnsupported)
		}
		k.state = kept
		return nil
	})
}

// A stopping world is harmed while the new version is stopped.
type stopping struct {
	keeping
	harm func()
}

func (s stopping) Stop(ctx context.Context, r updater.StopRequest) (updater.StopResponse, error) {
	if s.version(&s.current) == "2.0.0" {
		s.harm()
	}
	return s.keeping.Stop(ctx, r)
}

// newKeeping returns a harm that takes from the disk what is named: files in
// the component's directory, or "" for all of it.
func newKeeping(t *testing.T, p packages, kept bool) (w *world, e *Engine, harm func(names ...string)) {
	t.Helper()
	w, e = newTelling(t, p)
	if kept {
		e.connect(t, keeping{telling{stateful{w}}, map[string]string{}})
	}
	files, _, _ := e.States.Load(t.Context(), component, 1)
	home := filepath.Dir(filepath.Dir(files))
	return w, e, func(names ...string) {
		for _, name := range names {
			found, err := filepath.Glob(filepath.Join(home, name))
			for _, f := range found {
				err = errors.Join(err, os.RemoveAll(f))
			}
			if err != nil {
				t.Error(err)
			}
		}
		states, err := state.Open(filepath.Dir(filepath.Dir(home)), w)
		if err != nil {
			t.Error(err)
		}
		e.States, e.Marks, e.Transform, e.Rehearsals = states, states, states, states
	}
}

func (e *Engine) connect(t *testing.T, u updater.Updater) {
	t.Helper()
	client, err := updater.Connect(t.Context(), "application", u, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Kill)
	e.Updater = func(context.Context, string) (*updater.Client, error) { return client, nil }
}

// TestLostStates: the power fails after every operation of an update, there or
// on its way back, and seals, the mark or all saved states are lost with it.
// Version and state belong together afterwards, or nothing runs and the outcome
// says why; where the updater keeps the original, the way back needs no saved
// state.
func TestLostStates(t *testing.T) {
	hasty := build(t, "20ms")
	for _, c := range []struct {
		failAt string
		lost   []string
	}{
		{"probe2.0.0", []string{"*/seal.json"}},
		{"probe2.0.0", []string{"*/seal.json", "live.json"}},
		{"probe2.0.0", []string{"*/files", "live.json"}},
		{"probe2.0.0", []string{""}},
		{"apply", []string{"live.json"}},
		{"", []string{""}},
	} {
		for _, kept := range []bool{true, false} {
			cutEverywhere(t, fmt.Sprintf("fail=%s/lost=%q/kept=%v", c.failAt, c.lost, kept), func(t *testing.T, cut int) bool {
				w, e, harm := newKeeping(t, hasty, kept)
				w.set(func() { w.budget, w.failAt = cut, c.failAt })
				o, err := w.update(t, e, "2.0.0")
				whole := err == nil
				if !whole {
					harm(c.lost...)
					w.set(func() { w.budget = -1 })
					o, err = w.update(t, e, "2.0.0")
				}
				if err != nil || kept && c.failAt == "probe2.0.0" && o.Result == Inconsistent {
					t.Errorf("cut after %d: %+v, %v", cut, o, err)
				}
				w.agrees(t, e, o, cut)
				return whole
			})
		}
	}
}

// TestStatesLostOnTheWayBack: nothing was cut off, and there is nothing left
// to turn back with when it comes to that.
func TestStatesLostOnTheWayBack(t *testing.T) {
	for _, kept := range []bool{true, false} {
		w, e, harm := newKeeping(t, build(t, "20ms"), kept)
		k := keeping{telling{stateful{w}}, map[string]string{}}
		lost := func() { harm("") }
		if !kept {
			lost = func() { harm(""); clear(k.saved) }
		}
		e.connect(t, stopping{k, lost})
		w.set(func() { w.failAt = "probe2.0.0" })
		o, err := w.update(t, e, "2.0.0")
		if want := map[bool]string{true: TurnedBack, false: Inconsistent}[kept]; err != nil || o.Result != want {
			t.Errorf("kept %v: %+v, %v", kept, o, err)
		}
		w.agrees(t, e, o, 0)
	}
}

// agrees does what recovery does after an update, and looks at what runs then.
func (w *world) agrees(t *testing.T, e *Engine, o Outcome, cut int) {
	t.Helper()
	w.set(func() { w.failAt = "" })
	if o.Result == Inconsistent {
		of, _, err := e.Reunite(t.Context(), component)
		switch {
		case err != nil && w.running == "" && strings.Contains(err.Error(), "repair again") && o.Cause != "":
			return
		case err != nil || w.running != "":
			t.Errorf("cut after %d: %s runs after %+v: %v", cut, w.running, o, err)
			return
		case of.Version == "": // it believes what the agent remembers
			w.current = w.installed.Version
		}
		h, _ := e.updater(t.Context(), &Update{Component: component})
		if err := h.Start(t.Context(), updater.StartRequest{Component: component}); err != nil {
			t.Errorf("cut after %d: %+v: %v", cut, o, err)
		}
	}
	if w.running == "" || w.running != w.current || !strings.HasPrefix(w.state, "schema "+w.running[:1]+" value 42") {
		t.Errorf("cut after %d: %+v: version %s on state %q", cut, o, w.running, w.state)
	}
}
