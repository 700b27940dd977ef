package engine

import (
	"context"
	"errors"
	"testing"
)

// far is a source from which nothing comes while it is cut off.
type far struct {
	*world
	cut bool
}

func (f *far) Blob(ctx context.Context, component, digest string, size int64, tell func(done, total int64)) error {
	if f.cut {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.world.Blob(ctx, component, digest, size, tell)
}

// TestDownloadStandsBack: a download whose turn is over waits, is no crash
// however often that is, can be cancelled, and goes on.
func TestDownloadStandsBack(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		w, e := newWorld(t, build(t, "1m"))
		source, turns := &far{world: w}, 0
		e.Source = source
		e.Turn = func(ctx context.Context, _ string) (context.Context, context.CancelFunc) {
			turns++
			source.cut = turns <= 100
			ctx, end := context.WithCancel(ctx)
			if source.cut {
				end()
			}
			return ctx, end
		}
		for range 100 {
			_, err := w.update(t, e, "2.0.0")
			var wait Wait
			if !errors.As(err, &wait) || !wait.Poll || wait.Until.IsZero() {
				t.Fatalf("turn %d: %v", turns, err)
			}
		}
		want := Updated
		if cancelled {
			want = Refused
			if err := e.Cancel(component, "enough"); err != nil {
				t.Fatal(err)
			}
		}
		o, err := w.update(t, e, "2.0.0")
		if err != nil || o.Result != want {
			t.Fatalf("after %d turns: %+v, %v", turns, o, err)
		}
		w.check(t, o)
	}
}

// TestRehearsalStandsBack: a rehearsal whose turn is over waits, is cancelled
// meanwhile if somebody asks for it, and comes to its end all the same if each of
// its turns is over at once.
func TestRehearsalStandsBack(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		w, e := newWorld(t, build(t, "1m"))
		rehearsing := false
		e.Tell = func(p Progress) { rehearsing = p.Step == "rehearse" }
		e.Turn = func(ctx context.Context, _ string) (context.Context, context.CancelFunc) {
			ctx, end := context.WithCancel(ctx)
			if rehearsing {
				end()
			}
			return ctx, end
		}
		_, err := w.update(t, e, "2.0.0")
		if wait, is := errors.AsType[Wait](err); !is || !wait.Poll || wait.Until.IsZero() {
			t.Fatal("it does not stand back:", err)
		}
		want := Updated
		if cancelled {
			want = Refused
			if err := e.Cancel(component, "enough"); err != nil {
				t.Fatal(err)
			}
		}
		o, err := w.update(t, e, "2.0.0")
		if err != nil || o.Result != want {
			t.Fatalf("%+v, %v", o, err)
		}
		w.check(t, o)
	}
}
