package manager

import (
	"fmt"
	"time"

	"github.com/adhocore/gronx"
)

// CheckSchedule reports why a cron expression cannot be used; "" means no
// schedule and is valid.
func CheckSchedule(expr string) error {
	if expr != "" && !gronx.IsValid(expr) {
		return fmt.Errorf("%q is no cron expression such as \"0 */6 * * *\"", expr)
	}
	return nil
}

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

// dueIn returns how long it is from now until the next tick of a schedule.
func dueIn(expr string, now time.Time) (time.Duration, bool) {
	if expr == "" {
		return 0, false
	}
	next, err := gronx.NextTickAfter(expr, now, false)
	if err != nil {
		return 0, false
	}
	return next.Sub(now), true
}
