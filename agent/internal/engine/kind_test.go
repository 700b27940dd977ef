package engine

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

func TestKind(t *testing.T) {
	from := Installed{Version: "2.0.0"}
	for _, c := range []struct {
		u    Update
		want string
	}{
		{Update{Wish: Wish{Version: "1.0.0"}}, KindUpdate}, // the first
		{Update{From: from, Wish: Wish{Version: "2.1.0", Attempt: 3}}, KindUpdate},
		{Update{From: from, To: Installed{Version: "3.0.0"}, Wish: Wish{Package: "sha256:x"}}, KindUpdate},
		{Update{From: from, Wish: Wish{Version: "1.0.0"}}, KindRollback},
		{Update{From: from, Wish: Wish{Version: "3.0.0", State: StateSaved}}, KindRollback}, // to one from before
		{Update{From: from, Wish: Wish{Version: "1.0.0", State: StateTransform}, Restore: 3}, KindRollback},
		{Update{From: from, To: from, Restore: 3}, KindRestore},
		{Update{From: from, Wish: Wish{Remove: RemoveKeep}}, KindRemove},
		{Update{From: from}, KindRepair},
		{Update{From: from, To: from, Repair: 4, Restore: 3}, KindRepair},
	} {
		if got := c.u.Kind(); got != c.want {
			t.Errorf("%+v is a %s, want %s", c.u, got, c.want)
		}
	}
}

// A warning rehearsal finds something to tell of.
type warningRehearsal struct{ Rehearsals }

func (w warningRehearsal) Rehearse(ctx context.Context, c string, live state.Generation, steps []host.Step, told func(done, total int64), pause func() error) (state.Rehearsed, error) {
	found, err := w.Rehearsals.Rehearse(ctx, c, live, steps, told, pause)
	found.Warnings = []string{"no file is like that"}
	return found, err
}

// A noticing source has something to say of each blob, the same.
type noticing struct{ Source }

func (n noticing) Blob(ctx context.Context, component, digest string, size int64, progress func(done, total int64)) error {
	Notice(ctx, "it came whole")
	return n.Source.Blob(ctx, component, digest, size, progress)
}

// TestWarnings: what a rehearsal warns of, and what a download has to say, is in the
// outcome, however the update ends.
func TestWarnings(t *testing.T) {
	p := build(t, "20ms")
	for _, failAt := range []string{"", "probe2.0.0"} {
		w, e := newWorld(t, p)
		e.Rehearsals, e.Source = warningRehearsal{e.Rehearsals}, noticing{e.Source}
		w.set(func() { w.failAt = failAt })
		o, err := w.update(t, e, "2.0.0")
		if err != nil || !cmp.Equal(o.Warnings, []string{"no file is like that", "it came whole"}) || o.Kind != KindUpdate || o.Cancelled {
			t.Errorf("%q: %+v, %v", failAt, o, err)
		}
	}
}
