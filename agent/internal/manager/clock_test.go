package manager

import (
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

const decade = 3652 * 24 * time.Hour

// TestScheduleAndClock: a check is due at the next tick after the clock was
// set, and not because of that; a device that slept through a tick checks.
func TestScheduleAndClock(t *testing.T) {
	m := New(Config{Components: []string{name}, Memory: &memory{wishes: engine.Wishes{Schedule: "0 3 * * *"}}, Journal: nothing})
	wall, on := time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC), time.Hour
	for _, look := range []struct {
		why         string
		passed, set time.Duration
		due         bool
	}{
		{"it is planned", 0, 0, false},
		{"nothing", 10 * time.Second, 0, false},
		{"the clock is right again after years", 10 * time.Second, decade, false},
		{"an hour too early", 10 * time.Second, 0, false},
		{"the tick of then", 60*time.Minute + spread, 0, true},
		{"the tick has been", 10 * time.Second, 0, false},
		{"years back", 10 * time.Second, -decade, false},
		{"an hour later", time.Hour, 0, false},
		{"asleep over the next tick", 23 * time.Hour, 0, true},
		{"little by little", 10 * time.Second, 20 * time.Second, false},
	} {
		wall, on = wall.Add(look.passed+look.set), on+look.passed
		if due := m.takeDue(name, wall, on); due != look.due {
			t.Errorf("%s: due: %t at %s", look.why, due, wall)
		}
	}
}

// TestSpread: of many devices with one schedule no two check at the same moment, and none
// before its tick or long after it.
func TestSpread(t *testing.T) {
	now := time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC)
	for expr, test := range map[string]struct{ tick, most time.Duration }{
		"0 3 * * *":     {time.Hour, spread},
		"*/10 * * * *":  {10 * time.Minute, time.Minute},
		"*/5 * * * * *": {5 * time.Second, 500 * time.Millisecond},
	} {
		seen := map[time.Duration]bool{}
		for range 100 {
			in, ok := dueIn(expr, now)
			if !ok || in < test.tick || in >= test.tick+test.most {
				t.Errorf("%s: in %s", expr, in)
			}
			seen[in] = true
		}
		if len(seen) < 90 {
			t.Errorf("%s: %d moments for 100 devices", expr, len(seen))
		}
	}
}

// TestPollIn: whatever becomes of the wall clock, a wait is looked at again
// within a minute.
func TestPollIn(t *testing.T) {
	now := time.Now()
	for until, want := range map[time.Time]time.Duration{
		{}:                           pollInterval,
		now.Add(3 * time.Second):     3 * time.Second,
		now.Add(decade).Round(0):     pollInterval,
		now.Add(-decade).Round(0):    0,
		now.Add(time.Hour).Round(0):  pollInterval,
		now.Add(-time.Hour).Round(0): 0,
	} {
		if in := pollIn(until, now); (in - want).Abs() > time.Millisecond {
			t.Errorf("until %s: in %s", until, in)
		}
	}
}
