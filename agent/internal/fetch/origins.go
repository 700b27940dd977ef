package fetch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	avoidFor    = 5 * time.Minute // how long a server that has failed comes after the others
	attemptsOne = 2               // without progress, before the next server is asked
	slowAfter   = time.Minute     // that a download has to be below Config.Slow
)

// An origin is one of the servers that a Fetcher may ask.
type origin struct {
	source
	url string

	mu  sync.Mutex
	bad time.Time // it failed then
}

func (o *origin) failed() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bad = time.Now()
}

func (o *origin) avoided() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.bad.IsZero() && time.Since(o.bad) < avoidFor
}

// ranked lists the servers in the order in which they are to be asked now.
func (f *Fetcher) ranked() []*origin {
	var first, last []*origin
	for _, o := range f.origins {
		if o.avoided() {
			last = append(last, o)
		} else {
			first = append(first, o)
		}
	}
	return append(first, last...)
}

// errSlow is why another server is asked although this one sends.
var errSlow = errors.New("server is slow")

// elsewhere are the errors that another server may not have.
var elsewhere = []error{ErrNotFound, ErrRefused, ErrChanged, ErrSize, ErrBudget}

// tries paces the attempts of one call, and says whom to ask.
type tries struct {
	f      *Fetcher
	order  []*origin
	at     int              // of order
	pins   map[*origin]*pin // what each has said
	failed int              // attempts at this one without progress
	finals []error          // of those in this round that will not do better
	since  time.Time        // of the last progress
	wait   time.Duration
}

const (
	firstWait   = 200 * time.Millisecond
	longestWait = 15 * time.Second
)

func (f *Fetcher) newTries() *tries {
	return &tries{f: f, order: f.ranked(), pins: map[*origin]*pin{}, since: time.Now(), wait: firstWait}
}

func (t *tries) origin() *origin { return t.order[t.at] }

// pin is what the server has said that is asked now.
func (t *tries) pin() *pin {
	p := t.pins[t.origin()]
	if p == nil {
		p = &pin{}
		t.pins[t.origin()] = p
	}
	return p
}

// next returns nil when it is time for another attempt, or why there is none. If
// there are other servers that is at once: what has come so far stays.
func (t *tries) next(ctx context.Context, err error, progress bool) error {
	if ctx.Err() != nil {
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) { // the next call shall not wait for it as well
			t.origin().failed()
		}
		return context.Cause(ctx)
	}
	p, passes := errors.AsType[*passingError](err)
	final := slices.ContainsFunc(elsewhere, func(e error) bool { return errors.Is(err, e) })
	if !passes && !final {
		return err
	}
	if progress {
		t.since, t.wait, t.failed = time.Now(), firstWait, 0
	}
	if t.failed++; final || t.failed >= attemptsOne || errors.Is(err, errSlow) {
		if again, err := t.turn(err, final); again || err != nil {
			return err
		}
	}
	var after time.Duration
	if passes {
		after = p.after
	}
	return t.pause(ctx, err, after)
}

// turn goes over to the next server. After the last one it begins anew, which is not
// for now; or it returns why none of them will do better.
func (t *tries) turn(err error, final bool) (now bool, _ error) {
	t.failed = 0
	if final {
		t.finals = append(t.finals, err)
	}
	if len(t.order) > 1 {
		t.origin().failed()
	}
	if t.at++; t.at < len(t.order) {
		t.f.cfg.Log.Warn("file server fails, asking the next one", "server", t.order[t.at-1].url, "next", t.origin().url, "err", err)
		return true, nil
	}
	if len(t.finals) == len(t.order) {
		return false, t.finals[0]
	}
	t.at, t.finals = 0, nil
	return false, nil
}

// pause waits, each time longer.
func (t *tries) pause(ctx context.Context, err error, after time.Duration) error {
	wait := max(min(after, longestWait), t.wait/2+rand.N(t.wait))
	t.wait = min(2*t.wait, longestWait)
	if silent := time.Since(t.since); silent+wait > t.f.cfg.Patience {
		return fmt.Errorf("%w: no progress for %s: %w; check the network and that %s is the file server, then try again",
			ErrUnreachable, silent.Round(time.Millisecond), err, t.origin().url)
	}
	t.f.cfg.Log.Debug("download interrupted, trying again", "err", err, "wait", wait)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(wait):
		return nil
	}
}

// A watch notices that a download is slow. A server that sends just enough not to be
// given up can keep a device from its updates (slow retrieval, in Uptane's words).
type watch struct {
	least float64 // bytes a second
	since time.Time
	from  int64
	slow  func(rate float64) error
}

// see looks at how far the download is.
func (w *watch) see(done int64, now time.Time) error {
	if w.since.IsZero() {
		w.since, w.from = now, done
	}
	took := now.Sub(w.since)
	if took < slowAfter {
		return nil
	}
	rate := float64(done-w.from) / took.Seconds()
	w.since, w.from = now, done
	if rate >= w.least {
		return nil
	}
	return w.slow(rate)
}

// watch has a download be reported when it is slow, and go on elsewhere if it can.
func (f *Fetcher) watch(t *tries, s *sink) *watch {
	return &watch{least: f.cfg.Slow, slow: func(rate float64) error {
		f.cfg.Log.Warn("download is slow", "server", t.origin().url, "bytes a second", int(rate), "done", s.have, "of", s.size)
		if t.at+1 < len(t.order) {
			return &passingError{err: fmt.Errorf("%w: %.0f bytes a second", errSlow, rate)}
		}
		return nil
	}}
}
