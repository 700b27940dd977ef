package engine

import "time"

const (
	slowBelow = 1 << 10     // bytes a second
	slowAfter = time.Minute // in which a download has to be faster
)

// A gauge tells when a download is slow: a server that sends next to nothing can keep
// a device from its updates (slow retrieval, in Uptane's words), so people shall know.
type gauge struct {
	since time.Time
	from  int64
	rate  int64 // of the last minute, if that was slow
}

// slow returns how many bytes a second a slow download has brought in the last
// minute, at least 1; 0 if it is none. done is how far it is now.
func (g *gauge) slow(done int64, now time.Time) int64 {
	took := now.Sub(g.since)
	if !g.since.IsZero() && took < slowAfter {
		return g.rate
	}
	rate := int64(float64(done-g.from) / took.Seconds())
	if g.rate = 0; !g.since.IsZero() && rate < slowBelow {
		g.rate = max(rate, 1)
	}
	g.since, g.from = now, done
	return g.rate
}
