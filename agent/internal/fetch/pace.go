package fetch

import (
	"math/rand/v2"
	"time"
)

const (
	widest      = 32 // blocks in flight at most
	ackTimeout  = 2 * time.Second
	shortestRTO = 150 * time.Millisecond
	longestRTO  = 10 * time.Second
)

// A pace decides how many blocks may be in flight and how long to wait for
// one. RFC 7252 section 4.7 allows more than one only under congestion control:
// the window grows with each answer, by one a round trip once there was loss,
// and is halved when blocks are lost (AIMD). The timeout follows the measured
// round trips (RFC 6298).
type pace struct {
	window, threshold float64
	srtt, rttvar      time.Duration
	rto               time.Duration
	cut               time.Time // when the window was halved last
}

// newPace waits for the first answer between one and one and a half times
// patience (ACK_TIMEOUT and ACK_RANDOM_FACTOR of RFC 7252 section 4.2).
func newPace(patience time.Duration) pace {
	return pace{window: 1, threshold: widest, rto: patience + rand.N(patience/2)}
}

// answered widens the window. rtt is 0 if a repeated request makes it unknown.
func (p *pace) answered(rtt time.Duration) {
	if p.window < p.threshold {
		p.window++
	} else {
		p.window += 1 / p.window
	}
	p.window = min(p.window, widest)
	if rtt > 0 {
		p.measure(rtt)
	}
}

func (p *pace) measure(rtt time.Duration) {
	if p.srtt == 0 {
		p.srtt, p.rttvar = rtt, rtt/2
	} else {
		p.rttvar += ((p.srtt - rtt).Abs() - p.rttvar) / 4
		p.srtt += (rtt - p.srtt) / 8
	}
	p.rto = min(max(p.srtt+4*p.rttvar, shortestRTO), longestRTO)
}

// lost halves the window for a block sent at that time, but once only for all
// that were in flight together.
func (p *pace) lost(sent, now time.Time) {
	if sent.Before(p.cut) {
		return
	}
	p.cut = now
	p.threshold = max(p.window/2, 1)
	p.window = p.threshold
}

// timeout is how long to wait for the answer to the n-th try, from 1.
func (p *pace) timeout(n int) time.Duration {
	return min(p.rto<<min(n-1, 10), longestRTO)
}
