package state

import (
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A clock counts the time that the device has been on while states were kept
// on it: the boot-time clock, summed over the boots. Whatever is done to the
// wall clock, a state ages no faster. Time without power does not count, and
// what was counted since the last write is lost with it: states then stay
// longer than asked, never shorter.
type clock struct {
	file string
	boot func() (id string, at time.Duration)

	mu sync.Mutex
	reading
}

// A reading is the clock on the disk.
type reading struct {
	Boot string        // identity of the boot in which it was read
	At   time.Duration // since that boot
	On   time.Duration // sum until then
}

const clockName = "clock.json"

// openClock goes on from what was written; without that it begins at 0, which
// makes all states young.
func openClock(root string) *clock {
	c := &clock{file: filepath.Join(root, clockName), boot: bootTime}
	if readChecked(c.file, &c.reading) != nil {
		c.reading = reading{}
	}
	return c
}

func bootTime() (string, time.Duration) {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail for this clock
	return boot(), time.Duration(ts.Nano())
}

func (c *clock) now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, at := c.boot()
	if c.Boot == id {
		c.On += max(0, at-c.At)
	} else if c.Boot != "" {
		c.On += at // the whole time since this boot
	}
	c.Boot, c.At = id, at
	return c.On
}

func (c *clock) write() error {
	c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return writeChecked(c.file, c.reading)
}
