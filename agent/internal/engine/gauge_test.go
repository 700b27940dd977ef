package engine

import (
	"testing"
	"time"
)

func TestGauge(t *testing.T) {
	var g gauge
	now := time.Unix(1000, 0)
	for _, at := range []struct {
		seconds, done, slow int64
	}{
		{0, 5000, 0},      // what an earlier process has brought counts for nothing
		{59, 5001, 0},     // not known yet
		{60, 11_000, 100}, // 6,000 bytes in a minute
		{90, 11_500, 100}, //
		{120, 11_001, 1},  // next to nothing
		{180, 211_001, 0}, // fast again
		{600, 211_101, 1}, // after a pause
		{660, 1_000_000, 0},
	} {
		if got := g.slow(at.done, now.Add(time.Duration(at.seconds)*time.Second)); got != at.slow {
			t.Errorf("after %d s: slow %d, want %d", at.seconds, got, at.slow)
		}
	}
}
