package files

import (
	"io"
	"sync"
	"time"
)

const (
	maxOpened = 64               // blobs
	openedFor = 10 * time.Second // then it is looked whether the blob is still there
)

// opened keeps blobs open from one block to the next, which saves most of what a
// block costs. What it holds depends on the blobs that are asked for, not on who asks.
type opened struct {
	open func(path []string) (*resource, error)

	mu    sync.Mutex
	blobs map[string]*shared // by digest
}

// A shared resource is closed when nobody reads it and it is no longer kept.
type shared struct {
	*resource
	component string
	since     time.Time
	readers   int
	dropped   bool
}

func newOpened(open func(path []string) (*resource, error)) *opened {
	return &opened{open: open, blobs: map[string]*shared{}}
}

// isBlob tells whether a path is that of a blob, whose bytes never change.
func isBlob(path []string) bool {
	return len(path) == 5 && path[0] == "v2" && path[3] == "blobs"
}

// get returns the blob at a path. Only its ReaderAt may be used.
func (o *opened) get(path []string, now time.Time) (*resource, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.blobs[path[4]]
	component := path[1] + "/" + path[2]
	if s == nil || s.component != component || now.Sub(s.since) >= openedFor {
		o.drop(path[4])
		res, err := o.open(path)
		if err != nil {
			return nil, err
		}
		if len(o.blobs) >= maxOpened {
			o.drop(o.oldest())
		}
		s = &shared{resource: res, component: component, since: now}
		o.blobs[path[4]] = s
	}
	s.readers++
	return &resource{digest: s.digest, media: s.media, size: s.size, ReaderAt: s.ReaderAt, Closer: reader{o, s}}, nil
}

func (o *opened) drop(digest string) {
	s := o.blobs[digest]
	delete(o.blobs, digest)
	if s == nil {
		return
	}
	if s.dropped = true; s.readers == 0 {
		s.Close()
	}
}

func (o *opened) oldest() (digest string) {
	var since time.Time
	for d, s := range o.blobs {
		if since.IsZero() || s.since.Before(since) {
			digest, since = d, s.since
		}
	}
	return digest
}

// close closes what is kept.
func (o *opened) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for d := range o.blobs {
		o.drop(d)
	}
}

// A reader reads a shared resource until it is closed.
type reader struct {
	o *opened
	s *shared
}

var _ io.Closer = reader{}

func (r reader) Close() error {
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	if r.s.readers--; r.s.readers == 0 && r.s.dropped {
		return r.s.Close()
	}
	return nil
}
