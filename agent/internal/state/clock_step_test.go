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
	want := 2
	if !faithful(snapshot) {
		want = 1 // any file may be written there: see calm
	}
	if info, err := os.Lstat(live); err != nil || int(links(info)) != want {
		t.Errorf("the snapshot of a file of ten years from now is a link: %t, %v", want == 1, err)
	}
}

// TestWriting: a write gives a file its time when it begins, and may come to the
// file seconds later, when the disk has taken what it waited for.
func TestWriting(t *testing.T) {
	b := newBook()
	b.observed = time.Now()
	for name, test := range map[string]struct {
		modified, changed time.Duration // before the files were brought to the disk
		want              bool
	}{
		"since":                         {-time.Millisecond, -time.Millisecond, true},
		"just before":                   {4 * time.Second, 4 * time.Second, true},
		"before, and moved":             {4 * time.Second, 0, true},
		"linked just now":               {time.Minute, 50 * time.Millisecond, true},
		"linked":                        {time.Minute, 200 * time.Millisecond, false},
		"long ago":                      {time.Minute, time.Minute, false},
		"of ten years from now, linked": {-10 * 365 * 24 * time.Hour, time.Second, false},
	} {
		stamp := func(d time.Duration) int64 { return b.observed.Add(-d).UnixNano() | 1 }
		if got := b.writing(identity{Modified: stamp(test.modified), Changed: stamp(test.changed)}); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
