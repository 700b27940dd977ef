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
