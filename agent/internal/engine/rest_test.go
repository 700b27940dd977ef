package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// order notes what happens to readings, and what runs then.
type order struct {
	w    *world
	told []string
}

func (o *order) note(what string) {
	if n := len(o.told); n == 0 || o.told[n-1] != what {
		o.told = append(o.told, what)
	}
}

func (o *order) Closing(string) error { o.note("closing, runs " + o.w.running); return nil }
func (o *order) Closed(string)        { o.note("closed, runs " + o.w.running) }
func (o *order) Open(string)          { o.note("open, runs " + o.w.running) }

// TestRest: the outcome tells how the component came to rest, and its last
// readings are seen to between.
func TestRest(t *testing.T) {
	p := build(t, "1m")
	for failAt, want := range map[string]string{"": Tranquil, "quiesce": "forced: it did not come to rest: boom", "apply": Tranquil} {
		w, e := newWorld(t, p)
		w.budget, w.failAt, w.failOnce = -1, failAt, failAt != "quiesce"
		readings := &order{w: w}
		e.Readings = readings
		o, err := w.update(t, e, "2.0.0")
		if err != nil || !strings.HasPrefix(o.Rest, want) || o.Forced != (failAt == "quiesce") {
			t.Fatalf("%+v, %v, want %s", o, err, want)
		}
		w.check(t, o)
		told := []string{"closing, runs 1.0.0", "closed, runs ", "open, runs "}
		if failAt == "apply" { // and once more when the announcement is taken back
			told = append(told, "open, runs 1.0.0")
		}
		if diff := cmp.Diff(told, readings.told); diff != "" {
			t.Error(diff)
		}
	}
}

// A deaf component cannot be asked.
type deaf struct{ stateful }

func (deaf) Quiesce(context.Context, updater.QuiesceRequest) error {
	return fmt.Errorf("it serves no control socket: %w", errors.ErrUnsupported)
}

// TestRestUnknown: a component that nobody can ask has not come to rest, and
// was not stopped by force either.
func TestRestUnknown(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	client, err := updater.Connect(t.Context(), "application", deaf{stateful{w}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Kill)
	e.Updater = func(context.Context, string) (*updater.Client, error) { return client, nil }
	o, err := w.update(t, e, "2.0.0")
	if err != nil || !strings.HasPrefix(o.Rest, Unknown+"it serves no control socket") || o.Forced {
		t.Errorf("%+v, %v", o, err)
	}
}
