package store

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// TestTimings: the last of each update stays, of the last updates, through
// restarts.
func TestTimings(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	s := open(t, dir)
	for n := range maxTimings + 3 {
		for range 2 {
			check(t, s.AddTiming(name, engine.Timing{Update: fmt.Sprint("u", n)}))
		}
	}
	s = reopen(t, s, dir)
	defer s.Close()
	all, err := s.Timings(name)
	if err != nil || len(all) != maxTimings || all[0].Update != "u3" || all[maxTimings-1].Update != fmt.Sprint("u", maxTimings+2) {
		t.Errorf("%+v, %v", all, err)
	}
}
