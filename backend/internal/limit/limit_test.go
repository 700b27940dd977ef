package limit

import (
	"fmt"
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	l := New[string](10, 3)
	now := time.Unix(100, 0)
	var got []bool
	take := func(after time.Duration) { got = append(got, l.Take("a", 1, now.Add(after))) }
	for range 4 {
		take(0)
	}
	take(100 * time.Millisecond)
	take(100 * time.Millisecond)
	l.Give("a", 1, now.Add(100*time.Millisecond))
	take(100 * time.Millisecond)
	if fmt.Sprint(got) != "[true true true false true false true]" {
		t.Errorf("got %v", got)
	}
	if !l.Take("b", 3, now) {
		t.Error("sources are not told apart")
	}
}

// TestMemory has more sources than are told apart.
func TestMemory(t *testing.T) {
	l := New[int](2000, 256)
	for i := range 3 * MaxSources {
		l.Take(i, 1, time.Unix(100, int64(i)))
	}
	if len(l.sources) > MaxSources {
		t.Errorf("%d sources are kept", len(l.sources))
	}
	if !l.Take(-1, 1, time.Unix(200, 0)) || len(l.sources) != 1 {
		t.Errorf("%d sources are kept that have their tokens back", len(l.sources))
	}
}

// TestSeats: nobody has more than each may, all together no more than there are, and who leaves makes room.
func TestSeats(t *testing.T) {
	var s Seats[string]
	var leave []func()
	got := ""
	for _, who := range "aaaabbcd" {
		l, ok := s.Take(string(who), 3, 6)
		if ok {
			leave, got = append(leave, l), got+string(who)
		}
	}
	if got != "aaabbc" {
		t.Error(got)
	}
	leave[0]()
	if _, ok := s.Take("d", 3, 6); !ok {
		t.Error("there is no room")
	}
	for _, l := range leave[1:] {
		l()
	}
	if len(s.taken) != 1 || s.all != 1 {
		t.Errorf("%+v", s.taken)
	}
}
