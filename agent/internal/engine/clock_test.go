package engine

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestReturns: the announced time of return is by the wall clock of now. A
// clock that was set since is an announcement by another one.
func TestReturns(t *testing.T) {
	for _, c := range []struct {
		name string
		off  time.Duration // how far the clock was from now when it was announced
		boot string        // of the announcement
		want bool          // it is told anew
	}{
		{name: "as it was"},
		{name: "slewed", off: time.Second},
		{name: "set back", off: 24 * time.Hour, want: true},
		{name: "set forward", off: -10 * 365 * 24 * time.Hour, want: true},
		{name: "another boot", off: time.Hour, boot: "another"}, // nobody can tell
	} {
		u := Update{Predicted: time.Minute, Announced: now()}
		if c.boot != "" {
			u.Announced.Boot = c.boot
		}
		u.Until = time.Now().UTC().Add(u.Predicted + c.off)
		got := u.returns()
		if c.want == got.Equal(u.Until) || c.want && time.Until(got) > u.Predicted || c.want && time.Until(got) < 0 {
			t.Errorf("%s: announced for %s, told %s", c.name, u.Until, got)
		}
	}
	if at := new(Update).returns(); !at.IsZero() {
		t.Errorf("nothing was announced, told %s", at)
	}
}

// TestPace: what a download brings in each block is told now and then only.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []float64
		e := &Engine{Log: slog.New(slog.DiscardHandler), Tell: func(p Progress) { told = append(told, p.Fraction) }}
		step := Step{Name: "download", Do: func(ctx context.Context, _ *Update) error {
			for block := range 4000 {
				progress(ctx, float64(block)/4000)
				time.Sleep(time.Millisecond)
			}
			return nil
		}}
		if err := e.once(t.Context(), &Record{}, []Step{step}, 0); err != nil {
			t.Fatal(err)
		}
		if len(told) != 20 || told[19] != 0.95 {
			t.Errorf("told %d times: %v", len(told), told)
		}
	})
}
