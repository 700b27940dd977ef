package files

import (
	"net/netip"
	"sync"
	"time"
)

// maxSources is how many source addresses are told apart; the others share one
// bucket, so that forged sources cannot fill the memory.
const maxSources = 4096

// A limiter is a token bucket for each source address.
type limiter struct {
	rate, burst float64 // tokens a second, and at most

	mu      sync.Mutex
	buckets map[netip.Addr]*bucket
	others  bucket
	swept   time.Time // when forget ran last
}

type bucket struct {
	tokens float64
	filled time.Time
}

func newLimiter(rate, burst float64) *limiter {
	return &limiter{rate: rate, burst: burst, buckets: map[netip.Addr]*bucket{}}
}

// allow takes n tokens of that source, if it has them. Loopback always has.
func (l *limiter) allow(from netip.Addr, n float64) bool {
	if from = from.Unmap(); from.IsLoopback() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.take(l.bucket(from), n, time.Now())
}

func (l *limiter) bucket(from netip.Addr) *bucket {
	if b := l.buckets[from]; b != nil {
		return b
	}
	if len(l.buckets) >= maxSources && !l.forget(time.Now()) {
		return &l.others
	}
	b := &bucket{}
	l.buckets[from] = b
	return b
}

// take fills b for the time that passed since, then takes n tokens.
func (l *limiter) take(b *bucket, n float64, now time.Time) bool {
	if b.filled.IsZero() {
		b.tokens = l.burst
	} else {
		b.tokens = min(l.burst, b.tokens+l.rate*now.Sub(b.filled).Seconds())
	}
	b.filled = now
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	return true
}

// forget drops buckets that are full again, since a new one would be the same,
// and tells whether there is room now. It looks once a second at most.
func (l *limiter) forget(now time.Time) bool {
	if now.Sub(l.swept) < time.Second {
		return false
	}
	l.swept = now
	for addr, b := range l.buckets {
		if b.tokens+l.rate*now.Sub(b.filled).Seconds() >= l.burst {
			delete(l.buckets, addr)
		}
	}
	return len(l.buckets) < maxSources
}
