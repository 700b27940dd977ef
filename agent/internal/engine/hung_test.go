package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A hung updater does not answer one of its calls: the first time, or ever;
// start and probe only of the new version.
type hung struct {
	stateful
	at   string
	once bool
}

// answer does a call unless it hangs.
func (h *hung) answer(ctx context.Context, call string, do func() error) error {
	if h.at != call || h.current != "2.0.0" && (call == "start" || call == "probe") {
		return do()
	}
	if h.once {
		h.at = ""
	}
	<-ctx.Done()
	return ctx.Err()
}

func (h *hung) Stage(ctx context.Context, r updater.StageRequest) (s updater.StageResponse, err error) {
	err = h.answer(ctx, "stage", func() error { s, err = h.stateful.Stage(ctx, r); return err })
	return s, err
}

func (h *hung) Unstage(ctx context.Context, r updater.UnstageRequest) error {
	return h.answer(ctx, "unstage", func() error { return h.stateful.Unstage(ctx, r) })
}

func (h *hung) Snapshot(ctx context.Context, r updater.SnapshotRequest) error {
	return h.answer(ctx, "snapshot", func() error { return h.stateful.Snapshot(ctx, r) })
}

func (h *hung) Quiesce(ctx context.Context, r updater.QuiesceRequest) error {
	return h.answer(ctx, "quiesce", func() error { return h.stateful.Quiesce(ctx, r) })
}

func (h *hung) Stop(ctx context.Context, r updater.StopRequest) (s updater.StopResponse, err error) {
	err = h.answer(ctx, "stop", func() error { s, err = h.stateful.Stop(ctx, r); return err })
	return s, err
}

func (h *hung) Save(ctx context.Context, r updater.SaveRequest) error {
	return h.answer(ctx, "save", func() error { return h.stateful.Save(ctx, r) })
}

func (h *hung) Switch(ctx context.Context, r updater.SwitchRequest) error {
	return h.answer(ctx, "switch", func() error { return h.stateful.Switch(ctx, r) })
}

func (h *hung) Apply(ctx context.Context, r updater.ApplyRequest) error {
	return h.answer(ctx, "apply", func() error { return h.stateful.Apply(ctx, r) })
}

func (h *hung) Start(ctx context.Context, r updater.StartRequest) error {
	return h.answer(ctx, "start", func() error { return h.stateful.Start(ctx, r) })
}

func (h *hung) Probe(ctx context.Context, r updater.ProbeRequest) (p updater.ProbeResponse, err error) {
	err = h.answer(ctx, "probe", func() error { p, err = h.stateful.Probe(ctx, r); return err })
	return p, err
}

// An updater that never answers costs a step's deadline and no more: the
// cause says so, and the update turns back, or, if the way back hangs as well,
// says that an operator has to look.
func TestHungUpdater(t *testing.T) {
	p := build(t, "1m")
	for call, step := range map[string]string{
		"stage": "stage", "snapshot": "rehearse", "quiesce": "quiesce", "stop": "stop", "save": "save",
		"switch": "rewrite", "apply": "apply", "start": "start", "probe": "probe", "unstage": "clean",
	} {
		for _, once := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/once=%v", call, once), func(t *testing.T) {
				t.Parallel()
				w, e := newWorld(t, p)
				hang(t, w, e, call, once)
				steps := e.steps()
				at := slices.IndexFunc(steps, func(s Step) bool { return s.Name == step })
				steps[at].Within = time.Second
				o, err := e.run(t.Context(), steps, Update{ID: "u", Component: component, From: w.installed, Wish: Wish{Version: "2.0.0"}})
				if err != nil {
					t.Fatal(err)
				}
				if o.Result == Updated && call == "snapshot" && !once {
					t.Errorf("never rehearsed: %+v", o)
				}
				checkHung(t, w, o, step, !once && (call == "switch" || call == "apply"))
			})
		}
	}
}

// hang has the updater not answer a call.
func hang(t *testing.T, w *world, e *Engine, call string, once bool) {
	t.Helper()
	client, err := updater.Connect(t.Context(), "application", &hung{stateful: stateful{w}, at: call, once: once}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Kill)
	e.Updater = func(context.Context, string) (*updater.Client, error) { return client, nil }
}

func checkHung(t *testing.T, w *world, o Outcome, step string, lost bool) {
	t.Helper()
	switch {
	case step == "clean", step == "rehearse" && o.Cause == "": // nobody needs that; it is tried again
		if o.Result != Updated || w.running != "2.0.0" {
			t.Errorf("%+v", o)
		}
		return
	case o.Step != step || !strings.Contains(o.Cause, "cannot "+step) && !strings.Contains(o.Cause, "cannot undo") || !strings.Contains(o.Cause, "not done within 1s"):
		t.Errorf("the cause does not tell: %+v", o)
	}
	if lost { // the way back needs the same call, and hangs as well
		if o.Result != Inconsistent {
			t.Errorf("%+v", o)
		}
		return
	}
	if o.Result != TurnedBack && o.Result != Refused {
		t.Errorf("%+v", o)
	}
	w.check(t, o)
}
