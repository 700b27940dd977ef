package files

import (
	"net/netip"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/limit"
)

// A limiter is a token bucket for each source address.
type limiter struct{ *limit.Buckets[netip.Addr] }

func newLimiter(rate, burst float64) *limiter {
	return &limiter{limit.New[netip.Addr](rate, burst)}
}

// allow takes n tokens of that source, if it has them. Loopback always has.
func (l *limiter) allow(from netip.Addr, n float64) bool {
	from = from.Unmap()
	return from.IsLoopback() || l.Take(from, n, time.Now())
}
