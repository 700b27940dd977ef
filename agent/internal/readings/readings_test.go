package readings

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/component"
)

const name = "application/a"

// A world is a disk and a server.
type world struct {
	kept      []component.Reading
	full      bool
	shown     []float64
	delivered int
	away      bool
}

func (w *world) Readings() ([]component.Reading, error) { return w.kept, nil }

func (w *world) KeepReadings(all []component.Reading) error {
	if w.full {
		return errors.New("disk full")
	}
	w.kept = all
	return nil
}

func (w *world) ForgetReadings(string) error {
	w.kept = nil
	return nil
}

func (w *world) book() *Book {
	return New(Config{
		Memory: w, Log: slog.New(slog.DiscardHandler),
		Show: func(r component.Reading) error {
			if r.Object == 0 {
				return errors.New("no sensor")
			}
			w.shown = append(w.shown, r.Value)
			return nil
		},
		Deliver: func(ctx context.Context, _ string) error {
			if w.away {
				<-ctx.Done()
				return ctx.Err()
			}
			w.delivered++
			return nil
		},
	})
}

func reading(instance int, value float64) component.Reading {
	return component.Reading{Component: name, Object: 3303, Instance: instance, Value: value, Time: time.Unix(1, 0).UTC()}
}

// TestLastReadings: whatever was taken before the stop is shown by the next
// process, and nothing is taken between the stop and the start.
func TestLastReadings(t *testing.T) {
	w := &world{}
	b := w.book()
	publish := func(want error, readings ...component.Reading) {
		t.Helper()
		for _, r := range readings {
			if err := b.Publish(r); !errors.Is(err, want) {
				t.Fatalf("%+v: %v", r, err)
			}
		}
	}
	publish(nil, reading(0, 1), reading(1, 2))
	if err := b.Publish(component.Reading{Component: name}); err == nil {
		t.Error("what cannot be shown was taken")
	}
	if w.kept != nil {
		t.Errorf("kept %+v though nothing happens", w.kept)
	}
	if err := b.Closing(name); err != nil || len(w.kept) != 2 {
		t.Fatalf("kept %+v, %v", w.kept, err)
	}
	publish(nil, reading(0, 3))
	other := component.Reading{Component: "application/b", Object: 3303, Instance: 7, Value: 9}
	publish(nil, other)
	if diff := cmp.Diff([]component.Reading{reading(0, 3), reading(1, 2)}, w.kept); diff != "" {
		t.Error(diff)
	}
	w.full = true
	if err := b.Publish(reading(0, 4)); err == nil {
		t.Error("a reading that is not durable was taken")
	}
	w.full = false
	b.Closed(name)
	publish(ErrAway, reading(0, 5))
	publish(nil, other)
	w.shown = nil
	if err := w.book().Restore(); err != nil || !cmp.Equal(w.shown, []float64{3, 2}) {
		t.Errorf("restored %v, %v", w.shown, err)
	}
	b.Open(name)
	awaitOpen(t, b, reading(0, 6))
	if w.delivered != 1 || w.kept != nil {
		t.Errorf("delivered %d times; still kept %+v", w.delivered, w.kept)
	}
}

// awaitOpen publishes a reading as sdk/component does.
func awaitOpen(t *testing.T, b *Book, r component.Reading) {
	t.Helper()
	for deadline := time.Now().Add(10 * deliverTime); ; time.Sleep(time.Millisecond) {
		err := b.Publish(r)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrAway) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestAServerThatIsAway: nothing waits for it but the readings of the next
// version, and they for a moment; those of a component that has published
// nothing do not.
func TestAServerThatIsAway(t *testing.T) {
	w := &world{away: true}
	b := w.book()
	if err := b.Publish(component.Reading{Component: "application/b", Object: 3303}); err != nil {
		t.Fatal(err)
	}
	for component, waits := range map[string]bool{name: false, "application/b": true} {
		begin := time.Now()
		for range 2 {
			b.Closed(component)
		}
		for range 2 {
			b.Open(component)
		}
		if took := time.Since(begin); took > deliverTime/2 {
			t.Errorf("the update of %s waits for %s", component, took)
		}
		r := reading(3, 7)
		r.Component = component
		awaitOpen(t, b, r)
		if took := time.Since(begin); (took >= deliverTime) != waits {
			t.Errorf("%s: took %s", component, took)
		}
	}
}
