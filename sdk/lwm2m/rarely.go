package lwm2m

import (
	"log/slog"
	"sync"
	"time"
)

// maxLines is how many lines of one kind go into the log in a second.
const maxLines = 10

// rarely bounds what peers can have logged: whoever sends much fills no disk.
type rarely struct {
	mu     sync.Mutex
	since  time.Time
	lines  int // since then
	missed int // that were not logged, before then
}

// log logs a line, or counts it. The next one that is logged a second later tells how
// many were missed.
func (r *rarely) log(line func(string, ...any), text string, fields ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.since) >= time.Second {
		r.missed += max(r.lines-maxLines, 0)
		r.since, r.lines = now, 0
	}
	if r.lines++; r.lines > maxLines {
		return
	}
	if r.missed > 0 {
		fields = append(fields, slog.Int("missed", r.missed))
		r.missed = 0
	}
	line(text, fields...)
}
