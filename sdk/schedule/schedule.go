// Package schedule knows when a device looks for newer packages: cron
// expressions of five fields, or six with seconds in front, or words such as
// @daily.
package schedule

import (
	"fmt"
	"time"

	"github.com/adhocore/gronx"
)

// Check reports why a schedule cannot be used; "" means none and is valid.
func Check(expr string) error {
	if expr != "" && !gronx.IsValid(expr) {
		return fmt.Errorf("%q is no cron expression such as \"0 */6 * * *\"", expr)
	}
	return nil
}

// Next returns the first tick of a schedule after a time; ok is false if there
// is none.
func Next(expr string, after time.Time) (next time.Time, ok bool) {
	if expr == "" {
		return time.Time{}, false
	}
	next, err := gronx.NextTickAfter(expr, after, false)
	return next, err == nil
}
