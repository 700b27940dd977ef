package fetch

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"
)

// enough is how many bytes count as progress. Fewer within Config.Stall is a
// server that only keeps the line busy.
const enough = 4 << 10

// A resource is what a GET asks for.
type resource struct {
	path  string
	query url.Values
}

// A source is a transport to the file server.
type source interface {
	// stream appends the resource to s, from the offset that s has reached to
	// the end. Errors that may pass by themselves are a *passingError.
	stream(ctx context.Context, r resource, s *sink, p *pin) error
	close()
}

// A pin is what the server said about a resource, and must go on saying.
type pin struct {
	etag string
	szx  uint8 // the block size that the server wants, as CoAP's exponent; 0: any

	inSequence bool // over CoAP, blocks have to be asked for one after the other
}

// hold notes the first entity tag and refuses another.
func (p *pin) hold(etag string) error {
	if p.etag != "" && etag != "" && p.etag != etag {
		return fmt.Errorf("entity tag was %q, is %q: %w", p.etag, etag, ErrChanged)
	}
	if p.etag == "" {
		p.etag = etag
	}
	return nil
}

// A sink takes the bytes of one resource in order.
type sink struct {
	w        io.Writer
	have     int64 // bytes taken; the offset to go on from
	size     int64 // bytes promised; -1 if unknown
	limit    int64 // of bytes if that is unknown; 0 is maxObject
	progress func(done, total int64)
	watch    *watch // nil: nobody minds how long it takes
	whole    bool   // see Config.Whole
}

func (s *sink) Write(b []byte) (int, error) {
	if err := s.fits(s.have + int64(len(b))); err != nil {
		return 0, err
	}
	n, err := s.w.Write(b)
	s.have += int64(n)
	if s.progress != nil {
		s.progress(s.have, s.size)
	}
	if err == nil && s.watch != nil {
		err = s.watch.see(s.have, time.Now())
	}
	return n, err
}

// fits refuses a resource of at least that many bytes.
func (s *sink) fits(bytes int64) error {
	if s.size >= 0 && bytes > s.size {
		return fmt.Errorf("more than the promised %d bytes: %w", s.size, ErrSize)
	}
	if limit := cmp.Or(s.limit, maxObject); s.size < 0 && bytes > limit {
		return fmt.Errorf("more than %d bytes: %w", limit, ErrSize)
	}
	return nil
}

// is refuses a resource whose whole size is not the promised one.
func (s *sink) is(bytes int64) error {
	if err := s.fits(bytes); err != nil {
		return err
	}
	if s.size >= 0 && bytes != s.size {
		return fmt.Errorf("%d of the promised %d bytes: %w", bytes, s.size, ErrSize)
	}
	return nil
}

// A passingError is one that time may heal.
type passingError struct {
	err   error
	after time.Duration // the server asks to be left alone for so long
}

func (e *passingError) Error() string { return e.err.Error() }
func (e *passingError) Unwrap() error { return e.err }

func passing(format string, args ...any) error {
	return &passingError{err: fmt.Errorf(format, args...)}
}

// object returns a small resource whole. Each attempt begins anew, so that no
// answer is put together from two.
func (f *Fetcher) object(ctx context.Context, r resource) ([]byte, error) {
	var buf bytes.Buffer
	err := f.whole(ctx, r, &buf, maxObject)
	return buf.Bytes(), err
}

// whole fills buf with a small resource of at most limit bytes.
func (f *Fetcher) whole(ctx context.Context, r resource, buf *bytes.Buffer, limit int64) error {
	for t := f.newTries(); ; {
		buf.Reset()
		err := t.origin().stream(ctx, r, &sink{w: buf, size: -1, limit: limit}, &pin{})
		if err == nil {
			return nil
		}
		if err := t.next(ctx, err, false); err != nil {
			return err
		}
	}
}

// persistAs holds the only server to what it said before.
func (f *Fetcher) persistAs(ctx context.Context, r resource, s *sink, p *pin) error {
	t := f.newTries()
	t.pins[t.origin()] = p
	return f.persistBy(ctx, r, s, t)
}

// persistBy brings the rest of a resource into s, attempt after attempt.
func (f *Fetcher) persistBy(ctx context.Context, r resource, s *sink, t *tries) error {
	s.watch = f.watch(t, s)
	for {
		before := s.have
		err := f.allowed(ctx, t.origin(), s)
		if err == nil {
			err = t.origin().stream(ctx, r, s, t.pin())
		}
		if err == nil {
			return nil
		}
		if err := t.next(ctx, err, s.have-before >= enough); err != nil {
			return fmt.Errorf("at byte %d: %w", s.have, err)
		}
		s.watch.since = time.Time{} // a pause is not slowness
	}
}

// allowed reports whether the rest of s may be fetched from there.
func (f *Fetcher) allowed(ctx context.Context, from *origin, s *sink) error {
	if !s.whole || f.cfg.Whole == nil || s.have == s.size {
		return nil
	}
	u, err := url.Parse(from.url)
	if err != nil {
		return err
	}
	return f.cfg.Whole(ctx, u.Hostname(), s.size-s.have)
}

// errStalled is why an exchange that came to a halt was given up.
var errStalled = errors.New("server is silent or too slow")

// A meter ends an exchange that does not bring enough bytes in time.
type meter struct {
	stall time.Duration
	timer *time.Timer
	bytes int
}

// metered returns a context that ends with errStalled, and the meter to feed.
func metered(ctx context.Context, stall time.Duration) (context.Context, *meter, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	m := &meter{stall: stall, timer: time.AfterFunc(stall, func() { cancel(errStalled) })}
	return ctx, m, func() {
		m.timer.Stop()
		cancel(nil)
	}
}

func (m *meter) add(n int) {
	if m.bytes += n; m.bytes >= enough {
		m.bytes = 0
		m.timer.Reset(m.stall)
	}
}
