package lwm2m

import (
	"context"
	"time"
)

// defaultAwake is how long a device in queue mode listens after it has been heard
// of last: MAX_TRANSMIT_WAIT of RFC 7252, as OMA LwM2M 1.1 section 6.5 advises.
const defaultAwake = 93 * time.Second

// Awake tells whether the device can be reached now: always, unless it registered
// in queue mode and has not been heard of for the time that it listens, or has had a
// connection (DTLS, TCP, TLS) that is lost: only the device can make another one.
func (d *Device) Awake() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.cut && (!d.registration.QueueMode || time.Now().Before(d.listens))
}

// AwakeUntil is when a device in queue mode that is awake will sleep unless it is
// heard of before; the zero time if it never sleeps.
func (d *Device) AwakeUntil() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.registration.QueueMode {
		return time.Time{}
	}
	return d.listens
}

// heard notes a sign of life: whoever waits for the device goes on. It reports whether
// there was none since the server was restarted, or since the connection was lost.
func (d *Device) heard() (again bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	again, d.unheard = d.unheard || d.cut, false
	d.listens, d.cut = time.Now().Add(d.server.awake()), false
	close(d.woken)
	d.woken = make(chan struct{})
	return again
}

// asleep notes that the device did not answer although it should listen.
func (d *Device) asleep() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listens = time.Time{}
}

// cutOff notes that there is no connection to the device.
func (d *Device) cutOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
}

// await returns when the device is awake, or with the reason why not.
func (d *Device) await(ctx context.Context) error {
	for {
		d.mu.Lock()
		woken := d.woken
		d.mu.Unlock()
		if d.Awake() {
			return nil
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *Server) awake() time.Duration {
	if s.config.AwakeTime > 0 {
		return s.config.AwakeTime
	}
	return defaultAwake
}

// stirred notes traffic of a device in queue mode: it listens from now on.
func (c *Client) stirred() {
	if !c.config.QueueMode {
		return
	}
	c.mu.Lock()
	was := c.awake
	c.awake = true
	if c.dozing == nil {
		c.dozing = time.AfterFunc(c.config.AwakeTime, c.doze)
	} else {
		c.dozing.Reset(c.config.AwakeTime)
	}
	c.mu.Unlock()
	if !was && c.config.OnAwake != nil {
		c.config.OnAwake(true)
	}
}

func (c *Client) doze() {
	c.mu.Lock()
	was := c.awake
	c.awake = false
	if c.dozing != nil {
		c.dozing.Stop()
	}
	c.mu.Unlock()
	if was && c.config.OnAwake != nil {
		c.config.OnAwake(false)
	}
}
