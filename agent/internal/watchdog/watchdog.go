// Package watchdog tells those who watch the agent that it lives: systemd
// (sd_notify(3)), which starts it anew if not, and the kernel's watchdog device,
// which reboots the machine.
package watchdog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Config says who watches.
type Config struct {
	Socket string        // of systemd; "": it does not wait for news
	Within time.Duration // systemd wants news this often; 0: never
	Device string        // "/dev/watchdog"; "": none

	// Alive does what only an agent can do that is well.
	Alive func(context.Context) error
	Log   *slog.Logger
}

// FromEnvironment is what systemd has set for this process.
func FromEnvironment() (socket string, within time.Duration) {
	us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); err == nil && us > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		within = time.Duration(us) * time.Microsecond
	}
	return os.Getenv("NOTIFY_SOCKET"), within
}

// deviceTimeout is how long the device shall wait for news: an agent on a slow
// device that is busy must not be rebooted.
const deviceTimeout = 2 * time.Minute

// Run says that the agent is ready, then again and again that it lives, if it
// does, and in the end that it stops because it was told to.
func (c Config) Run(ctx context.Context) error {
	device, within, err := c.openDevice()
	if err != nil {
		return err
	}
	if c.Within > 0 && (within == 0 || c.Within < within) {
		within = c.Within
	}
	c.notify("READY=1")
	defer c.notify("STOPPING=1")
	if device != nil {
		defer func() {
			_, err := device.WriteString("V") // it is not to bite
			if err = errors.Join(err, device.Close()); err != nil {
				c.Log.Error("cannot close the watchdog: the device may reboot", "error", err)
			}
		}()
	}
	if within == 0 {
		<-ctx.Done()
		return nil
	}
	c.keep(ctx, device, within/3)
	return nil
}

// keep tells news at each interval, as long as there is some.
func (c Config) keep(ctx context.Context, device *os.File, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select { // also before the first time: what it needs is begun beside it
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := c.alive(ctx, interval); err == nil {
			c.notify("WATCHDOG=1")
			if device != nil {
				_, err := device.Write([]byte{0})
				c.complain(err)
			}
		} else if ctx.Err() == nil {
			c.Log.Error("the agent does not work: it is started anew if that goes on", "error", err)
		}
	}
}

func (c Config) complain(err error) {
	if err != nil {
		c.Log.Error("cannot tell the watchdog", "error", err)
	}
}

func (c Config) alive(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return c.Alive(ctx)
}

// openDevice opens the watchdog, which bites from then on if it hears nothing for
// the time that it says.
func (c Config) openDevice() (*os.File, time.Duration, error) {
	if c.Device == "" {
		return nil, 0, nil
	}
	device, err := os.OpenFile(c.Device, os.O_WRONLY, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot open the watchdog: %w", err)
	}
	fd := int(device.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, int(deviceTimeout/time.Second)); err != nil {
		c.Log.Debug("the watchdog keeps its own time", "error", err)
	}
	within := deviceTimeout
	if seconds, err := unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT); err == nil && seconds > 0 {
		within = time.Duration(seconds) * time.Second
	}
	return device, within, nil
}

// notify sends systemd one assignment.
func (c Config) notify(state string) {
	if c.Socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: c.Socket, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		err = errors.Join(err, conn.Close())
	}
	c.complain(err)
}
