package accounts

import (
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/limit"
)

// TestRefusals: the log hears once a minute of each network, of all of them, and of many networks at once.
func TestRefusals(t *testing.T) {
	var r refusals
	now := time.Unix(1_000_000, 0)
	told, lines := 0, 0
	count := func(network string, after time.Duration) {
		if n := r.count(network, now.Add(after)); n > 0 {
			told, lines = told+n, lines+1
		}
	}
	for i := range 600 {
		count("a", time.Duration(i)*time.Second)
	}
	if lines != 10 || told < 541 {
		t.Errorf("%d in %d lines", told, lines)
	}
	lines = 0
	for i := range 2 * limit.MaxSources {
		count(time.Duration(i).String(), 600*time.Second)
	}
	if lines > limit.MaxSources+1 || len(r.by) > limit.MaxSources+1 {
		t.Errorf("%d lines, %d networks are remembered", lines, len(r.by))
	}
}
