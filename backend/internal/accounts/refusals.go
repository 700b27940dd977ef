package accounts

import (
	"maps"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/limit"
)

// refusals counts attempts that nobody has looked at, so that the log has a line of them a minute and network. The zero
// value is ready.
type refusals struct {
	mu    sync.Mutex
	by    map[string]*refusal
	swept time.Time
}

type refusal struct {
	n    int // since they were told
	told time.Time
}

// telling is how often.
const telling = time.Minute

// count counts one, and answers how many are to be told now: of many networks at once those together that are too many.
func (r *refusals) count(network string, now time.Time) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]*refusal{}
	}
	if r.by[network] == nil && len(r.by) >= limit.MaxSources && now.Sub(r.swept) >= time.Second {
		r.swept = now
		maps.DeleteFunc(r.by, func(_ string, of *refusal) bool { return now.Sub(of.told) >= telling })
	}
	if r.by[network] == nil && len(r.by) >= limit.MaxSources {
		network = ""
	}
	of := r.by[network]
	if of == nil {
		of = &refusal{}
		r.by[network] = of
	}
	of.n++
	if now.Sub(of.told) < telling {
		return 0
	}
	n, of.n, of.told = of.n, 0, now
	return n
}
