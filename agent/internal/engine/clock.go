package engine

import (
	"context"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Moment is a point on the boot-time clock, which no change of the wall
// clock moves and which goes on while the device sleeps.
type Moment struct {
	Boot string        `json:"boot"` // identity of this boot; times of two boots cannot be compared
	At   time.Duration `json:"at"`   // since that boot
}

// now returns the present moment.
func now() Moment {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail for this clock
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return Moment{strings.TrimSpace(string(id)), time.Duration(ts.Nano())}
}

// since returns the time that passed since m; across a reboot only the time
// since that is known.
func since(m Moment) time.Duration {
	n := now()
	if n.Boot != m.Boot {
		return n.At
	}
	return n.At - m.At
}

type progressKey struct{}

func withProgress(ctx context.Context, f func(float64)) context.Context {
	return context.WithValue(ctx, progressKey{}, f)
}

// progress reports which part of the running step is done, 0 to 1.
func progress(ctx context.Context, part float64) {
	if f, ok := ctx.Value(progressKey{}).(func(float64)); ok {
		f(part)
	}
}
