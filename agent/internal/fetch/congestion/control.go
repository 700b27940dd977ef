// Package congestion decides how many requests may be under way to a server at
// once, and how long to wait for the answer to one.
//
// RFC 7252 section 4.7 allows more than one request, and less patience than two
// seconds, only to who controls congestion. A [Control] does that as TCP does:
// a slow start, then one more a round trip (RFC 5681), time-outs by measured
// round trips (RFC 6298). From the round trips it also knows how many requests
// wait in queues along the path, as TCP Veno does, and that tells two kinds of
// loss apart: with queues that are all but empty a radio has lost something, and
// the window shrinks by a fifth; with full ones it is halved.
//
// A Control has neither a clock nor a socket.
package congestion

import (
	"math/rand/v2"
	"time"
)

const (
	// Widest is how many requests are under way at most: what 10 Mbit/s carry in
	// 50 ms, in blocks of 1024 bytes.
	Widest = 64

	opening = 4    // requests at once, to a server that is known to bear several
	waiting = 3    // requests in queues that mean congestion: Veno's β
	period  = 1024 // answers after which a shortest round trip may be that of a path that is no more

	margin  = 150 * time.Millisecond // a time-out is longer than a round trip, at least
	longest = 60 * time.Second
)

// A Control is the state of congestion control towards one server. The zero
// Control is of no use.
type Control struct {
	window, threshold float64

	srtt, rttvar time.Duration
	base, newer  time.Duration // the shortest round trip of the last period and of this one: that of empty queues
	answers      int           // in this period
	rto          time.Duration
	silent       int // time-outs in a row

	cut    time.Time // when the window was made smaller last
	before struct {  // that
		window, threshold float64
	}
}

// New returns the Control for a server of which nothing is known. It waits for the
// first answer between one and one and a half times patience (ACK_TIMEOUT and
// ACK_RANDOM_FACTOR of RFC 7252 section 4.2).
func New(patience time.Duration) Control {
	return Control{window: 1, threshold: Widest, rto: patience + rand.N(patience/2)}
}

// Again returns the Control for the next transfer from the same server: it knows
// the path, but not what else is on it by now (RFC 9040).
func (c Control) Again() Control {
	c.window, c.silent, c.cut = opening, 0, time.Time{}
	c.threshold = max(c.threshold, opening)
	return c
}

// Window is how many requests may be under way.
func (c *Control) Window() int { return int(c.window) }

// Known reports whether a round trip has been measured.
func (c *Control) Known() bool { return c.srtt > 0 }

// Open lets several requests be under way at once.
func (c *Control) Open() { c.window = max(c.window, opening) }

// Answered takes note of an answer and its round trip.
func (c *Control) Answered(rtt time.Duration) {
	c.silent = 0
	c.measure(max(rtt, 1))
	switch queued := c.queued(); {
	case c.window < c.threshold && queued < waiting:
		c.window++
	case c.window < c.threshold: // the path is full: what would be lost next need not be sent
		c.threshold = c.window
	case queued < waiting:
		c.window += 1 / c.window
	default:
		c.window += 0.5 / c.window
	}
	c.window = min(c.window, Widest)
}

// measure is RFC 6298 section 2.
func (c *Control) measure(rtt time.Duration) {
	if c.srtt == 0 {
		c.srtt, c.rttvar, c.base, c.newer = rtt, rtt/2, rtt, rtt
	} else {
		c.rttvar += ((c.srtt - rtt).Abs() - c.rttvar) / 4
		c.srtt += (rtt - c.srtt) / 8
		c.base, c.newer = min(c.base, rtt), min(c.newer, rtt)
	}
	if c.answers++; c.answers == period {
		c.base, c.newer, c.answers = c.newer, rtt, 0
	}
	c.rto = min(c.srtt+max(4*c.rttvar, c.srtt/2, margin), longest)
}

// queued is how many of the requests that are under way, and their answers, wait
// in queues.
func (c *Control) queued() float64 {
	if c.srtt == 0 {
		return 0
	}
	return c.window * float64(c.srtt-c.base) / float64(c.srtt)
}

// Lost takes note that a request sent at that time, or its answer, was lost while
// others came through. All that were under way together count once.
func (c *Control) Lost(sent, now time.Time) {
	if sent.Before(c.cut) {
		return
	}
	keep := 0.8
	if c.queued() >= waiting {
		keep = 0.5
	}
	c.shrink(max(c.window*keep, 1), now)
	c.window = c.threshold
}

// TimedOut takes note that nothing has come since a request was sent at that time:
// whatever was under way may be lost.
func (c *Control) TimedOut(sent, now time.Time) {
	if sent.Before(c.cut) && c.silent > 0 {
		return
	}
	c.silent++
	c.shrink(max(c.window/2, 2), now)
	c.window = 1
}

func (c *Control) shrink(threshold float64, now time.Time) {
	c.before.window, c.before.threshold = c.window, c.threshold
	c.threshold, c.cut = threshold, now
}

// Spurious takes back the last Lost or TimedOut, of a request that had been sent at
// that time: its answer was only late (RFC 4015's idea).
func (c *Control) Spurious(sent time.Time) {
	if c.before.window == 0 || sent.After(c.cut) {
		return
	}
	c.window, c.threshold = max(c.window, c.before.window), max(c.threshold, c.before.threshold)
	c.before.window = 0
}

// Timeout is how long to wait for the answer to the n-th try of a request, from 1.
// While nothing comes at all it doubles (RFC 6298 section 5.5), until there is an
// answer: then that tells how long they take now.
func (c *Control) Timeout(n int) time.Duration {
	return min(c.rto<<min(max(n-1, c.silent), 10), longest)
}
