package trust

import (
	"runtime/debug"
	"time"
)

// A Clock tells what is known of the time. No clock on the device has to be
// right: metadata says when it was made.
type Clock struct {
	Wall func() time.Time // nil: the system's

	// Synchronised says whether somebody who knows the time has set the wall
	// clock. Only then can metadata be refused since it has expired. nil: never.
	Synchronised func() bool
}

// A moment is the time that one call of a [Client] goes by.
type moment struct {
	time.Time
	doubt string // why nobody can know that it is right; ""
}

// now is the wall clock's time, but not earlier than what is known to be past.
func (c Clock) now(floor time.Time) moment {
	wall := time.Now
	if c.Wall != nil {
		wall = c.Wall
	}
	if now := wall().UTC(); !now.Before(floor) {
		return moment{Time: now}
	}
	return moment{floor, "the clock is behind what was signed last"}
}

func (c Clock) synchronised() bool { return c.Synchronised != nil && c.Synchronised() }

// built is the time of the commit that this program was built from; the zero
// time if that is not known.
func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, _ := time.Parse(time.RFC3339, s.Value)
			return t
		}
	}
	return time.Time{}
}
