// Package limit bounds how often somebody may do something: a token bucket for each source.
package limit

import (
	"sync"
	"time"
)

// MaxSources is how many sources are told apart; the others share one bucket, so that invented sources cannot fill the
// memory.
const MaxSources = 4096

// Buckets are a token bucket for each source.
type Buckets[K comparable] struct {
	rate, burst float64 // tokens a second, and at most

	mu      sync.Mutex
	sources map[K]*bucket
	others  bucket
	swept   time.Time // when forget ran last
}

type bucket struct {
	tokens float64
	filled time.Time
}

// New makes buckets that gain rate tokens a second and have at most burst.
func New[K comparable](rate, burst float64) *Buckets[K] {
	return &Buckets[K]{rate: rate, burst: burst, sources: map[K]*bucket{}}
}

// Take takes n tokens of a source, if it has them.
func (l *Buckets[K]) Take(from K, n float64, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(from, now)
	l.fill(b, now)
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	return true
}

// Give gives n tokens back.
func (l *Buckets[K]) Give(from K, n float64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(from, now)
	l.fill(b, now)
	b.tokens = min(l.burst, b.tokens+n)
}

func (l *Buckets[K]) bucket(from K, now time.Time) *bucket {
	if b := l.sources[from]; b != nil {
		return b
	}
	if len(l.sources) >= MaxSources && !l.forget(now) {
		return &l.others
	}
	b := &bucket{}
	l.sources[from] = b
	return b
}

// fill fills b for the time that passed since it was filled last.
func (l *Buckets[K]) fill(b *bucket, now time.Time) {
	if b.filled.IsZero() {
		b.tokens = l.burst
	} else {
		b.tokens = min(l.burst, b.tokens+l.rate*now.Sub(b.filled).Seconds())
	}
	b.filled = now
}

// forget drops buckets that are full again, since a new one would be the same, and tells whether there is room now. It
// looks once a second at most.
func (l *Buckets[K]) forget(now time.Time) bool {
	if now.Sub(l.swept) < time.Second {
		return false
	}
	l.swept = now
	for from, b := range l.sources {
		if b.tokens+l.rate*now.Sub(b.filled).Seconds() >= l.burst {
			delete(l.sources, from)
		}
	}
	return len(l.sources) < MaxSources
}
