package state

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSteppedClock: a file that was written while the clock showed another
// year is known again, and is not taken for one that is just being written.
func TestSteppedClock(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		changed time.Duration // before now
		want    bool
	}{
		{0, true},
		{50 * time.Millisecond, true},
		{3 * time.Second, false},
		{-time.Minute, true}, // set back a little: nobody knows
		{-10 * 365 * 24 * time.Hour, false},
		{10 * 365 * 24 * time.Hour, false},
	} {
		if got := early(identity{Changed: now.Add(-test.changed).UnixNano() | 1}, now); got != test.want {
			t.Errorf("read %s after the change: early: %t", test.changed, got)
		}
	}
	live, snapshot := filepath.Join(t.TempDir(), "file"), t.TempDir()
	put(t, live, "content")
	must(t, os.Chtimes(live, now, now.AddDate(10, 0, 0)))
	must(t, os.Link(live, filepath.Join(snapshot, "file")))
	must(t, calm(t.Context(), snapshot))
	if info, err := os.Lstat(live); err != nil || links(info) != 2 {
		t.Errorf("the snapshot of a file of ten years from now is no link: %v", err)
	}
}
