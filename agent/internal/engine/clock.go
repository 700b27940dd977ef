package engine

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/sdk/boot"
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
	return Moment{boot.ID(), time.Duration(ts.Nano())}
}

// Now returns the present moment.
func Now() Moment { return now() }

// since returns the time that passed since m; across a reboot only the time
// since that is known.
func since(m Moment) time.Duration {
	n := now()
	if n.Boot != m.Boot {
		return n.At
	}
	return n.At - m.At
}

// lateError is why a context of within has ended.
type lateError time.Duration

func (l lateError) Error() string { return fmt.Sprintf("not done within %s", time.Duration(l)) }

// within returns a context that ends d from now on the boot-time clock: also
// if the device sleeps meanwhile, and whatever is done to the wall clock.
func within(ctx context.Context, d time.Duration) (context.Context, func()) {
	late := lateError(d)
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err == nil {
		err = unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))}, nil)
	}
	if err != nil { // no file descriptor left: the monotonic clock is second best
		return context.WithTimeoutCause(ctx, d, late)
	}
	timer := os.NewFile(uintptr(fd), "timer")
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		if _, err := timer.Read(make([]byte, 8)); err == nil {
			cancel(late)
		}
	}()
	return ctx, func() {
		cancel(nil)
		timer.Close() // ends the read
	}
}

type progressKey struct{}

// progressPause is the least time between two tidings of one step: each block of
// a download is progress, and whoever is told looks at all that there is to say
// of the component.
const progressPause = 200 * time.Millisecond

// paced is f, called no more often than that.
func paced(f func(float64)) func(float64) {
	var mu sync.Mutex
	var last time.Time
	return func(part float64) {
		mu.Lock()
		defer mu.Unlock()
		if !last.IsZero() && time.Since(last) < progressPause {
			return
		}
		f(part)
		last = time.Now()
	}
}

type noticeKey struct{}

// Notice has the outcome of the update say something besides, if ctx is that of its
// download.
func Notice(ctx context.Context, text string) {
	if f, ok := ctx.Value(noticeKey{}).(func(string)); ok {
		f(text)
	}
}

func withProgress(ctx context.Context, f func(float64)) context.Context {
	return context.WithValue(ctx, progressKey{}, f)
}

// progress reports which part of the running step is done, 0 to 1.
func progress(ctx context.Context, part float64) {
	if f, ok := ctx.Value(progressKey{}).(func(float64)); ok {
		f(part)
	}
}
