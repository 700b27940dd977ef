package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
)

// TestEveryPoint has something go wrong after each block of a download in turn, in
// simulated time. That ends it, there is no blob, and when all is well again the next
// attempt brings the right one; what came before it brings again only if it was wrong.
func TestEveryPoint(t *testing.T) {
	const blocks = 40
	blob, digest := randomBlob(blocks << 10)
	other := bytes.Clone(blob)
	for i := range other {
		other[i] ^= 0x55
	}
	for name, tt := range map[string]struct {
		begin  func(r *rig, at int64)
		want   error
		anyway bool // all may come again
	}{
		"the agent ends":                {func(r *rig, at int64) { r.endAt = at }, context.Canceled, false},
		"the disk is full":              {func(r *rig, at int64) { r.room = at }, syscall.ENOSPC, false},
		"the link is cut":               {func(r *rig, at int64) { r.cutAt = at }, ErrUnreachable, false},
		"the file is another":           {func(r *rig, at int64) { r.serve = changed(other, "new", at) }, ErrChanged, true},
		"the file is another, secretly": {func(r *rig, at int64) { r.serve = changed(other, "tag", at) }, content.ErrDigest, true},
	} {
		t.Run(name, func(t *testing.T) {
			for at := int64(1); at < blocks; at++ {
				r := newRig(t, blob)
				tt.begin(r, at<<10)
				err := r.download(t, digest)
				if !errors.Is(err, tt.want) {
					t.Fatalf("after block %d: %v, want %v", at, err, tt.want)
				}
				if openStore(t, r.dir).Has(digest) {
					t.Fatalf("after block %d: there is a blob", at)
				}
				*r = rig{dir: r.dir, blob: r.blob, room: -1, asked: r.asked}
				if err := r.download(t, digest); err != nil {
					t.Fatalf("after block %d: %v when all is well again", at, err)
				}
				checkBlob(t, openStore(t, r.dir), digest, blob)
				if again := r.asked - blocks; !tt.anyway && again > 20 {
					t.Errorf("after block %d: %d blocks came twice", at, again)
				}
			}
		})
	}
}

// changed serves another file from a byte on.
func changed(other []byte, etag string, from int64) func(b block, ans *message.Message) {
	return func(b block, ans *message.Message) {
		if b.offset() >= from {
			ans.Payload = other[b.offset():min(b.offset()+b.size(), int64(len(other)))]
			ans.Options = ans.Options.Set(message.Option{ID: message.ETag, Value: []byte(etag)})
		}
	}
}

// A rig is a device, whose directory outlives it, and a server.
type rig struct {
	dir   string
	blob  []byte
	endAt int64 // bytes after which the agent ends; 0: never
	cutAt int64 // or the link
	room  int64 // bytes that the disk has; -1: enough
	serve func(b block, ans *message.Message)
	asked int // blocks that were answered
}

func newRig(t *testing.T, blob []byte) *rig {
	return &rig{dir: t.TempDir(), blob: blob, room: -1}
}

func (r *rig) download(t *testing.T, digest string) (err error) {
	t.Helper()
	server := &coapServer{content: map[string][]byte{blobPath(digest): r.blob}, twist: func(b block, ans *message.Message) bool {
		r.asked++
		if r.serve != nil {
			r.serve(b, ans)
		}
		return true
	}}
	l := &link{conditions: conditions{delay: delay, rate: mbit, queue: 32}, dice: rand.New(rand.NewPCG(1, 1))}
	l.server = func(request []byte) []byte {
		req := message.Message{Options: make(message.Options, 0, 16)}
		if _, err := coder.DefaultCoder.Decode(request, &req); err != nil {
			t.Error(err)
		}
		return server.answer(req)
	}
	synctest.Test(t, func(t *testing.T) {
		f, newErr := New(Config{URL: "coap://server", Store: &disk{openStore(t, r.dir), r.room}})
		if newErr != nil {
			t.Fatal(newErr)
		}
		f.origins[0].source.(*coapSource).dial = l.dial
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err = f.Blob(ctx, component, digest, int64(len(r.blob)), func(done, _ int64) {
			if r.endAt > 0 && done >= r.endAt {
				cancel()
			}
			if r.cutAt > 0 && done >= r.cutAt {
				l.mu.Lock()
				l.down = true
				l.mu.Unlock()
			}
		})
	})
	return err
}

// A disk has room for so many bytes.
type disk struct {
	*content.Store
	room int64 // -1: enough
}

func (d *disk) Receive(digest string, size int64, fill func(have int64, w io.Writer) error) error {
	return d.Store.Receive(digest, size, func(have int64, w io.Writer) error {
		if d.room >= 0 {
			w = &limited{w, d.room - have}
		}
		return fill(have, w)
	})
}

type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(b []byte) (int, error) {
	n, err := l.w.Write(b[:min(int64(len(b)), l.left)])
	if l.left -= int64(n); err == nil && n < len(b) {
		err = fmt.Errorf("cannot write: %w", syscall.ENOSPC)
	}
	return n, err
}
