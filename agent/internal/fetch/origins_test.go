package fetch

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// TestNextServer has the first server fail in every way: the next one is asked, from
// where the first has stopped, and first of all from then on.
func TestNextServer(t *testing.T) {
	const half = 100
	for name, twist := range map[string]func(b block, ans *message.Message) bool{
		"silent from the middle on": func(b block, _ *message.Message) bool { return b.num < half },
		"has it no more": func(b block, ans *message.Message) bool {
			if b.num >= half {
				ans.Code, ans.Payload = codes.NotFound, nil
			}
			return true
		},
		"changes it": func(b block, ans *message.Message) bool {
			if b.num >= half {
				ans.Options = ans.Options.Set(message.Option{ID: message.ETag, Value: []byte("other")})
			}
			return true
		},
		"is busy": func(b block, ans *message.Message) bool {
			if b.num >= half {
				ans.Code, ans.Payload = codes.ServiceUnavailable, nil
			}
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blob, digest := randomBlob(2 * half << 10)
			first := &coapServer{content: map[string][]byte{blobPath(digest): blob}, twist: twist}
			second := &httpServer{content: map[string][]byte{blobPath(digest): blob}}
			store := openStore(t, t.TempDir())
			f, err := New(Config{URL: "coap://" + first.start(t, "127.0.0.1:0"), Also: []string{second.start(t)}, Store: store, Patience: ample, Stall: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Blob(t.Context(), component, digest, int64(len(blob)), nil); err != nil {
				t.Fatal(err)
			}
			checkBlob(t, store, digest, blob)
			if from := second.offsets(); len(from) != 1 || from[0] < (half-2*maxAhead)<<10 || from[0] == 0 {
				t.Errorf("the second server was asked from %v on", from)
			}
			first.offsets()
			if _, err := f.Manifest(t.Context(), component, "1.0.0"); !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
			if got := second.offsets(); len(got) == 0 {
				t.Error("a server that has failed is asked first")
			}
		})
	}
}

// TestSilentServer uses up the time of one call, and not that of the next.
func TestSilentServer(t *testing.T) {
	first := &coapServer{twist: func(block, *message.Message) bool { return false }}
	second := &httpServer{content: map[string][]byte{"/trust/timestamp.json": []byte("{}")}}
	f, err := New(Config{URL: "coap://" + first.start(t, "127.0.0.1:0"), Also: []string{second.start(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hasty, cancel := context.WithTimeout(t.Context(), little)
	defer cancel()
	if _, err := f.Trust(hasty, "timestamp.json", 100); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v from a silent server", err)
	}
	if b, err := f.Trust(t.Context(), "timestamp.json", 100); string(b) != "{}" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestNoServerHasIt: the error is that of the first one.
func TestNoServerHasIt(t *testing.T) {
	first, second := &coapServer{}, &httpServer{}
	f, err := New(Config{URL: "coap://" + first.start(t, "127.0.0.1:0"), Also: []string{second.start(t)}, Patience: ample})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Manifest(t.Context(), component, "1.0.0"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if len(second.offsets()) != 1 {
		t.Error("the second server was not asked once")
	}
}

// TestWrongServer sends other bytes than the digest says: they are thrown away, and
// the next attempt asks another server.
func TestWrongServer(t *testing.T) {
	blob, digest := randomBlob(10_000)
	wrong := bytes.Clone(blob)
	wrong[5] ^= 1
	first := &httpServer{content: map[string][]byte{blobPath(digest): wrong}}
	second := &httpServer{content: map[string][]byte{blobPath(digest): blob}}
	store := openStore(t, t.TempDir())
	f, err := New(Config{URL: first.start(t), Also: []string{second.start(t)}, Store: store, Patience: ample})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Blob(t.Context(), component, digest, int64(len(blob)), nil); err == nil {
		t.Fatal("wrong bytes are taken")
	}
	if err := f.Blob(t.Context(), component, digest, int64(len(blob)), nil); err != nil {
		t.Fatal(err)
	}
	checkBlob(t, store, digest, blob)
}

// TestSlow has a server send a trickle, in simulated time: that is reported, and goes
// on elsewhere if it can.
func TestSlow(t *testing.T) {
	var out strings.Builder
	l := over(conditions{delay: delay, rate: 300, queue: 32})
	s := simulateWith(t, 64<<10, l, nil, nil, Config{Log: slog.New(slog.NewTextHandler(&out, nil))})
	if n := strings.Count(out.String(), "download is slow"); n < 2 || n > int(s.took/slowAfter) {
		t.Errorf("reported %d times in %v: %s", n, s.took, out.String())
	}
	w, now := watch{least: 1000}, time.Unix(100, 0)
	var rates []float64
	w.slow = func(rate float64) error {
		rates = append(rates, rate)
		return errSlow
	}
	for i, done := range []int64{0, 30_000, 61_000, 62_000, 63_000} { // each half a minute
		err := w.see(done, now.Add(time.Duration(i)*slowAfter/2))
		if slow := i == 4; errors.Is(err, errSlow) != slow {
			t.Errorf("at %d bytes: %v", done, err)
		}
	}
	if len(rates) != 1 || rates[0] < 33 || rates[0] > 34 {
		t.Errorf("%v bytes a second", rates)
	}
}

// TestMetered spends the budget of a link, here loopback: not a byte more than one
// read comes after that, and a restart does not forget it.
func TestMetered(t *testing.T) {
	blob, digest := randomBlob(2 << 20)
	each(t, map[string][]byte{blobPath(digest): blob}, func(t *testing.T, s served) {
		file := filepath.Join(t.TempDir(), "metered.json")
		store := openStore(t, t.TempDir())
		var reached int64
		get := func(budget int64) error {
			m, err := OpenMetered(file, []Link{{Interface: "no such link", Budget: 1}, {Interface: "lo", Budget: budget}})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			f, err := New(Config{URL: s.url, Store: store, Dial: m.Dial, Patience: ample})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			return f.Blob(t.Context(), component, digest, int64(len(blob)), func(done, _ int64) { reached = done })
		}
		const budget = 1 << 20
		if err := get(budget); !errors.Is(err, ErrBudget) || errors.Is(err, ErrUnreachable) {
			t.Fatalf("got %v", err)
		}
		if reached > budget+32<<10 || reached < budget*3/4 {
			t.Errorf("%d bytes came for %d", reached, budget)
		}
		before := reached
		if err := get(budget); !errors.Is(err, ErrBudget) || reached != before {
			t.Errorf("after a restart: %v, %d bytes", err, reached)
		}
		s.offsets()
		if err := get(10 << 20); err != nil {
			t.Fatal(err)
		}
		checkBlob(t, store, digest, blob)
		if from := s.offsets()[0]; from == 0 {
			t.Error("the download began anew")
		}
	})
}

// TestMeteredMonths counts each month by itself, whatever the clock does.
func TestMeteredMonths(t *testing.T) {
	m, err := OpenMetered(filepath.Join(t.TempDir(), "m"), []Link{{Interface: "wwan0", Budget: 100}})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		month string
		spent bool
	}{{"2026-01", false}, {"2026-01", true}, {"1970-01", true}, {"2026-02", false}, {"2026-01", true}} {
		at, err := time.Parse("2006-01", step.month)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.add(&m.links[0], 50, at); errors.Is(err, ErrBudget) != step.spent {
			t.Errorf("in %s: %v", step.month, err)
		}
	}
	if l := m.linkOf(&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}); l != nil {
		t.Error("a link that is not there is metered")
	}
}

// TestNoBudgetElsewhere has a Dial with no budget to anywhere.
func TestNoBudgetElsewhere(t *testing.T) {
	m, err := OpenMetered(filepath.Join(t.TempDir(), "m"), []Link{{Interface: "lo"}})
	if err != nil {
		t.Fatal(err)
	}
	server := &httpServer{}
	f, err := New(Config{URL: server.start(t), Also: []string{server.start(t)}, Patience: ample, Dial: m.Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Manifest(t.Context(), component, "1.0.0"); !errors.Is(err, ErrBudget) {
		t.Errorf("got %v", err)
	}
}
