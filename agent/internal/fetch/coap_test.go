package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/agent/internal/fetch/congestion"
)

// blobOverCoAP downloads a blob of n bytes from a server with that twist.
func blobOverCoAP(t *testing.T, n int, patience time.Duration, twist func(b block, ans *message.Message) bool) (*coapServer, error) {
	t.Helper()
	blob, digest := randomBlob(n)
	s := &coapServer{content: map[string][]byte{blobPath(digest): blob}, twist: twist}
	store := openStore(t, t.TempDir())
	f, err := New(Config{URL: "coap://" + s.start(t, "127.0.0.1:0"), Store: store, Patience: patience, Stall: patience / 2})
	if err != nil {
		t.Fatal(err)
	}
	impatient(f)
	if err := f.Blob(t.Context(), component, digest, int64(n), nil); err != nil {
		return s, err
	}
	checkBlob(t, store, digest, blob)
	return s, nil
}

// impatient has lost first requests repeated soon.
func impatient(f *Fetcher) { f.origins[0].source.(*coapSource).first = 50 * time.Millisecond }

func TestCoAPFaults(t *testing.T) {
	tests := []struct {
		name  string
		twist func(b block, ans *message.Message) bool
		want  error
	}{
		{"changes the content", func(b block, ans *message.Message) bool {
			if b.num > 5 {
				ans.Options = ans.Options.Set(message.Option{ID: message.ETag, Value: []byte("other")})
			}
			return true
		}, ErrChanged},
		{"claims another size", func(_ block, ans *message.Message) bool {
			setUint(ans, message.Size2, 99)
			return true
		}, ErrSize},
		{"never ends", func(b block, ans *message.Message) bool {
			b.more = true
			setUint(ans, message.Block2, b.encode())
			ans.Options = ans.Options.Remove(message.Size2)
			ans.Payload = make([]byte, b.size())
			return true
		}, ErrSize},
		{"ends early", func(b block, ans *message.Message) bool {
			setUint(ans, message.Block2, block{num: b.num, szx: b.szx}.encode())
			return true
		}, ErrSize},
		{"sends another block", func(b block, ans *message.Message) bool {
			setUint(ans, message.Block2, block{num: b.num + 1, szx: b.szx, more: true}.encode())
			return true
		}, ErrRefused},
		{"short block", func(_ block, ans *message.Message) bool {
			ans.Payload = ans.Payload[:len(ans.Payload)/2]
			return true
		}, ErrRefused},
		{"no blocks", func(_ block, ans *message.Message) bool {
			ans.Options = ans.Options.Remove(message.Block2)
			return true
		}, ErrSize},
		{"refuses", func(_ block, ans *message.Message) bool {
			ans.Code, ans.Payload = codes.Forbidden, []byte("not you")
			return true
		}, ErrRefused},
		{"resets", func(_ block, ans *message.Message) bool {
			*ans = message.Message{Type: message.Reset, Code: codes.Empty, MessageID: ans.MessageID}
			return true
		}, ErrRefused},
		{"always busy", func(_ block, ans *message.Message) bool {
			ans.Code = codes.ServiceUnavailable
			return true
		}, ErrUnreachable},
		{"silent", func(block, *message.Message) bool { return false }, ErrUnreachable},
		{"silent from block 20 on", func(b block, _ *message.Message) bool { return b.num < 20 }, ErrUnreachable},
		{"forged token", func(_ block, ans *message.Message) bool {
			ans.Token = bytes.Repeat([]byte{7}, 8)
			return true
		}, ErrUnreachable},
		{"promises an answer and sends none", func(_ block, ans *message.Message) bool {
			*ans = message.Message{Type: message.Acknowledgement, Code: codes.Empty, MessageID: ans.MessageID}
			return true
		}, ErrUnreachable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := blobOverCoAP(t, 100_000, patience(test.want), test.twist); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// TestOtherServers has servers that do what the standard allows.
func TestOtherServers(t *testing.T) {
	tests := []struct {
		name  string
		twist func(b block, ans *message.Message) bool
	}{
		{"no size and no entity tag", func(_ block, ans *message.Message) bool {
			ans.Options = ans.Options.Remove(message.Size2).Remove(message.ETag)
			return true
		}},
		{"separate responses", func(_ block, ans *message.Message) bool {
			ans.Type = message.Confirmable
			return true
		}},
		{"smaller blocks", func(b block, ans *message.Message) bool {
			if b.szx > 5 {
				ans.Payload = ans.Payload[:512]
				setUint(ans, message.Block2, block{num: b.offset() / 512, szx: 5, more: true}.encode())
			}
			return true
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := blobOverCoAP(t, 100_000, ample, test.twist); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLargeDatagramsLost has a path that loses blocks of more than 512 bytes.
func TestLargeDatagramsLost(t *testing.T) {
	blob, digest := randomBlob(20_000)
	s := &coapServer{
		content: map[string][]byte{blobPath(digest): blob},
		twist:   func(b block, _ *message.Message) bool { return b.size() <= 512 },
	}
	store := openStore(t, t.TempDir())
	f := newFetcher(t, "coap://"+s.start(t, "127.0.0.1:0"), store)
	impatient(f)
	if err := f.Blob(t.Context(), component, digest, int64(len(blob)), nil); err != nil {
		t.Fatal(err)
	}
	checkBlob(t, store, digest, blob)
}

// TestServerRestarts stops the server half-way and starts it again on its port.
func TestServerRestarts(t *testing.T) {
	blob, digest := randomBlob(1 << 20)
	s := &coapServer{content: map[string][]byte{blobPath(digest): blob}}
	addr := s.start(t, "127.0.0.1:0")
	store := openStore(t, t.TempDir())
	var restart sync.WaitGroup
	var once sync.Once
	err := newFetcher(t, "coap://"+addr, store).Blob(t.Context(), component, digest, int64(len(blob)), func(done, total int64) {
		if done < total/2 {
			return
		}
		once.Do(func() {
			restart.Go(func() {
				s.stop()
				s.start(t, addr)
			})
		})
	})
	restart.Wait()
	if err != nil {
		t.Fatal(err)
	}
	checkBlob(t, store, digest, blob)
	begun := 0
	for _, offset := range s.offsets() {
		if offset == 0 {
			begun++
		}
	}
	if begun != 1 {
		t.Errorf("download began %d times", begun)
	}
}

// TestNewSocketForManyBlocks downloads more blocks than one socket may ask for.
func TestNewSocketForManyBlocks(t *testing.T) {
	n := (maxSent + 100) * 256
	s, err := blobOverCoAP(t, n, ample, func(b block, ans *message.Message) bool {
		if b.szx > 4 {
			ans.Payload = ans.Payload[:256]
			setUint(ans, message.Block2, block{num: b.offset() / 256, szx: 4, more: true}.encode())
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if last := slices.Max(s.offsets()); last != int64(n-256) {
		t.Errorf("last block asked for is at %d, want %d", last, n-256)
	}
}

// TestImpairedPath loses, doubles and reorders datagrams both ways.
func TestImpairedPath(t *testing.T) {
	blob, digest := randomBlob(256 << 10)
	for seed, loss := range []float64{0, 0.01, 0.05} {
		t.Run(fmt.Sprintf("%.0f%%", loss*100), func(t *testing.T) {
			s := &coapServer{content: map[string][]byte{blobPath(digest): blob}}
			path := newImpairedPath(t, s.start(t, "127.0.0.1:0"), uint64(seed), loss)
			store := openStore(t, t.TempDir())
			f := newFetcher(t, "coap://"+path, store)
			impatient(f)
			if err := f.Blob(t.Context(), component, digest, int64(len(blob)), nil); err != nil {
				t.Fatal(err)
			}
			checkBlob(t, store, digest, blob)
			asked := s.offsets()
			if len(asked) > 2*256 {
				t.Errorf("%d requests for 256 blocks", len(asked))
			}
		})
	}
}

func TestBlockLimit(t *testing.T) {
	tr := newTransfer(nil, wayTo{pace: congestion.New(time.Second)}, resource{path: "/x"}, &sink{size: 1 << 40, have: (maxNum + 1) << 10}, &pin{})
	if err := tr.askMore(time.Now()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "HTTP") {
		t.Errorf("got %v", err)
	}
}

func FuzzAnswer(f *testing.F) {
	good := message.Message{Type: message.Acknowledgement, Code: codes.Content, MessageID: 7, Token: make([]byte, 8), Payload: make([]byte, 1024)}
	setUint(&good, message.Block2, block{more: true, szx: 6}.encode())
	setUint(&good, message.Size2, 5000)
	seed, err := encode(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:20])
	f.Add([]byte{0x70, 0, 0, 7})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, datagram []byte) {
		var got bytes.Buffer
		tr := newTransfer(func([]byte) error { return nil }, wayTo{pace: congestion.New(time.Second)}, resource{path: "/x"}, &sink{w: &got, size: 5000}, &pin{})
		tr.nonce = 0
		if err := tr.askMore(time.Unix(100, 0)); err != nil {
			t.Fatal(err)
		}
		tr.handle(datagram, time.Unix(101, 0))
		if got.Len() > 1024 || tr.low > 1024 {
			t.Errorf("one datagram brought %d bytes", got.Len())
		}
	})
}
