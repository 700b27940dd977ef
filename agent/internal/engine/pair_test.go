package engine

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A telling world says what it has.
type telling struct{ stateful }

func (w telling) Status(context.Context, updater.StatusRequest) (updater.StatusResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return updater.StatusResponse{Version: w.current, Handle: updater.Handle{Version: 1, Data: []byte(w.current)}, Running: w.running != ""}, nil
}

func newTelling(t *testing.T, p packages) (*world, *Engine) {
	t.Helper()
	w, e := newWorld(t, p)
	client, err := updater.Connect(t.Context(), "application", telling{stateful{w}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Kill)
	e.Updater = func(context.Context, string) (*updater.Client, error) { return client, nil }
	return w, e
}

// TestLostJournal: the power fails after every operation of an update, there
// or on its way back, and the journal is lost with it. The version that is
// started then is the one that the state is of.
func TestLostJournal(t *testing.T) {
	p := build(t, "1m")
	for _, failAt := range []string{"", "start2.0.0", "apply", "run"} {
		cutEverywhere(t, "fail="+failAt, func(t *testing.T, cut int) bool {
			w, e := newTelling(t, p)
			w.set(func() { w.budget, w.failAt = cut, failAt })
			_, err := w.update(t, e, "2.0.0")
			w.set(func() { w.budget, w.failAt, w.journal, w.installed, w.running = -1, "", nil, Installed{}, "" })
			for range 2 { // also when that is cut off
				of, done, err := e.Reunite(t.Context(), component)
				if err != nil || of.Version != w.current {
					t.Errorf("cut after %d: %+v, %q, %v", cut, of, done, err)
				}
			}
			h, _ := e.updater(t.Context(), &Update{Component: component})
			if err := h.Start(t.Context(), updater.StartRequest{Component: component}); err != nil {
				t.Errorf("cut after %d: %v", cut, err)
			}
			if !strings.HasPrefix(w.state, "schema "+w.running[:1]) || !strings.Contains(w.state, "value 42") {
				t.Errorf("cut after %d: version %s, state %q", cut, w.running, w.state)
			}
			return err == nil
		})
	}
}

// TestKilledWithoutJournal: the agent is killed after every operation of an
// update, and its journal is lost; what runs then runs on, and is known to be on
// its own state.
func TestKilledWithoutJournal(t *testing.T) {
	p := build(t, "20ms")
	for _, failAt := range []string{"", "probe2.0.0"} {
		cutEverywhere(t, "fail="+failAt, func(t *testing.T, cut int) bool {
			w, e := newTelling(t, p)
			w.set(func() { w.budget, w.failAt = cut, failAt })
			_, err := w.update(t, e, "2.0.0")
			w.set(func() { w.budget, w.failAt, w.journal, w.installed = -1, "", nil, Installed{} })
			runs := w.running
			if runs == "" {
				return err == nil
			}
			of, done, err2 := e.Reunite(t.Context(), component)
			if apart := e.Agree(component, runs); err2 != nil || apart != nil || of.Version != runs || done != "" || w.running != runs {
				t.Errorf("killed after %d: %s runs; %+v, %q, %v; %v", cut, runs, of, done, err2, apart)
			}
			return err == nil
		})
	}
}

// TestNoMark: nothing is touched where it is not known whose the state is, as
// on a device whose agent kept no marks.
func TestNoMark(t *testing.T) {
	w, e := newTelling(t, build(t, "1m"))
	for _, component := range []string{"application/other", component} {
		if of, done, err := e.Reunite(t.Context(), component); err != nil || done != "" || component != "application/a" && of.Version != "" {
			t.Errorf("%s: %+v, %q, %v", component, of, done, err)
		}
	}
	if w.running != "1.0.0" {
		t.Error("the component was stopped")
	}
}

// TestAgree: the power fails after every operation of an update. Where the
// component may be started before the update goes on, it is on its own state.
func TestAgree(t *testing.T) {
	p := build(t, "1m")
	for _, failAt := range []string{"", "probe2.0.0"} {
		cutEverywhere(t, "agree/fail="+failAt, func(t *testing.T, cut int) bool {
			w, e := newTelling(t, p)
			w.set(func() { w.budget, w.failAt, w.failOnce = cut, failAt, true })
			_, err := w.update(t, e, "2.0.0")
			w.set(func() { w.budget, w.failAt = -1, "" })
			r := w.journal
			if r == nil || !r.Startable() || e.Agree(component, w.current) != nil {
				return err == nil
			}
			if !strings.HasPrefix(w.state, "schema "+w.current[:1]) {
				t.Errorf("cut after %d, at %s, back %v: version %s, state %q", cut, r.Step, r.Back, w.current, w.state)
			}
			return err == nil
		})
	}
}
