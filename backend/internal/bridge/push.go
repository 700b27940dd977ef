package bridge

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
)

// A push is a package on its way to a device, block by block, beside all else that
// the session does.
type push struct {
	cancel context.CancelFunc
	sent   atomic.Int64
	ended  chan struct{}
	err    error // valid once it has ended
}

// startPush begins to write the artifact to the device. It is read from the file
// server as it is sent.
func (r *run) startPush() {
	ctx, cancel := context.WithCancel(r.life)
	p := &push{cancel: cancel, ended: make(chan struct{})}
	r.push = p
	d, image, path, size, packages := r.d, r.t.path.Child(r.t.object.image), r.blobPath(), r.j.Size, r.packages
	r.pushes.Go(func() {
		defer r.poke()
		defer close(p.ended)
		defer cancel()
		body, err := packages(ctx, path)
		if err != nil {
			p.err = err
			return
		}
		p.err = errors.Join(d.WriteFrom(ctx, image, io.TeeReader(body, p), size), body.Close())
	})
}

// Write counts what is sent.
func (p *push) Write(b []byte) (int, error) {
	p.sent.Add(int64(len(b)))
	return len(b), nil
}

// pushed reports whether a push goes on, and with a waiting error how far it is;
// or what has become of it.
func (r *run) pushed() (running bool, err error) {
	p := r.push
	if p == nil {
		return false, nil
	}
	r.j.sent = p.sent.Load()
	select {
	case <-p.ended:
	default:
		return true, soon("the package to be pushed")
	}
	r.push = nil
	if p.err != nil {
		return false, r.offered(p.err)
	}
	r.j.Pushed = true
	return false, nil
}

// endPush stops a push that nobody waits for any more.
func (s *session) endPush() {
	if s.push != nil {
		s.push.cancel()
		<-s.push.ended
		s.push = nil
	}
}
