package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// restartTakes is longer than any block is waited for at first.
const restartTakes = 10 * time.Second

// TestEveryPoint has something go wrong after each block of a download in turn, in
// simulated time. That ends it, there is no blob, and when all is well again the next
// attempt brings the right one; what came before it brings again only if it was wrong:
// of the rest no more than was under way, which is far less than a MiB, the interval at
// which what has come is brought to the disk.
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
		"the server is started anew":    {func(r *rig, at int64) { r.dieAt = at }, nil, false},
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
				if openStore(t, r.dir).Has(digest) != (err == nil) {
					t.Fatalf("after block %d: %v, but is there a blob? %v", at, err, err != nil)
				}
				r.mend()
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
	dieAt int64 // after which the server is away for a while; 0: never
	room  int64 // bytes that the disk has; -1: enough
	serve func(b block, ans *message.Message)
	asked int // blocks that were answered

	more   map[string][]byte // that the server has
	bases  []pack.Descriptor
	swapAt int64 // after which the server has another delta; 0: never
	killAt int64 // bytes of the blob after which the agent ends, wherever they are from; 0: never
}

func newRig(t *testing.T, blob []byte) *rig {
	return &rig{dir: t.TempDir(), blob: blob, room: -1}
}

// mend has all be well again.
func (r *rig) mend() {
	*r = rig{dir: r.dir, blob: r.blob, room: -1, asked: r.asked, more: r.more, bases: r.bases}
}

func (r *rig) download(t *testing.T, digest string) (err error) {
	t.Helper()
	content := map[string][]byte{blobPath(digest): r.blob}
	maps.Copy(content, r.more)
	var away atomic.Int64 // in UnixNano: until then the server does not run
	server := &coapServer{content: content, twist: func(b block, ans *message.Message) bool {
		if time.Now().UnixNano() < away.Load() {
			return false
		}
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
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		store := openStore(t, r.dir)
		f, newErr := New(Config{URL: "coap://server", Deltas: based{store, r.bases}, Store: &disk{store, r.room, func(d string, done int64) {
			if d == digest && r.killAt > 0 && done >= r.killAt {
				cancel()
			}
		}}})
		if newErr != nil {
			t.Fatal(newErr)
		}
		f.origins[0].source.(*coapSource).dial = l.dial
		err = f.Blob(ctx, component, digest, int64(len(r.blob)), func(done, _ int64) {
			if r.endAt > 0 && done >= r.endAt {
				cancel()
			}
			if r.swapAt > 0 && done >= r.swapAt {
				for path, b := range r.more {
					server.put(path, make([]byte, len(b)))
				}
			}
			if r.dieAt > 0 && done >= r.dieAt {
				away.Store(time.Now().Add(restartTakes).UnixNano())
				r.dieAt = 0
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

// A disk has room for so many bytes, and says how many a blob has.
type disk struct {
	*content.Store
	room int64 // -1: enough
	tell func(digest string, done int64)
}

func (d *disk) Receive(digest string, size int64, fill func(have int64, w io.Writer) error) error {
	return d.Store.Receive(digest, size, func(have int64, w io.Writer) error {
		if d.room >= 0 {
			w = &limited{w, d.room - have}
		}
		return fill(have, &told{w, have, func(done int64) { d.tell(digest, done) }})
	})
}

type told struct {
	w    io.Writer
	done int64
	tell func(done int64)
}

func (t *told) Write(b []byte) (int, error) {
	n, err := t.w.Write(b)
	t.done += int64(n)
	t.tell(t.done)
	return n, err
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
