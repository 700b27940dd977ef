package manager

import (
	"math/rand/v2"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/schedule"
)

// A plan is the next tick of a schedule. Schedules go by the clock on the wall:
// when that is set, there is no telling which ticks have passed, and a new plan
// is made.
type plan struct {
	at  time.Time     // the tick, on the wall
	now time.Time     // when it was last looked at, on the wall
	on  time.Duration // and on the boot-time clock
}

// slew is by how much the wall clock and the boot-time clock may differ from
// one look to the next.
const slew = time.Minute

// moved reports whether the wall clock was set since the last look.
func (p plan) moved(now time.Time, on time.Duration) bool {
	return (now.Round(0).Sub(p.now.Round(0)) - (on - p.on)).Abs() > slew
}

// spread is by how much a check comes after its tick, at most: a thousand devices that
// have one schedule do not ask in the same second.
const spread = 5 * time.Minute

// dueIn returns how long it is from now until the check of the next tick of a schedule:
// it is made in the first tenth of the time until the tick after that, some time within
// spread.
func dueIn(expr string, now time.Time) (time.Duration, bool) {
	next, ok := schedule.Next(expr, now)
	late := time.Duration(0)
	if after, another := schedule.Next(expr, next); ok && another {
		late = rand.N(max(1, min(after.Sub(next)/10, spread)))
	}
	return next.Sub(now) + late, ok
}
