package fetch

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
)

// A link is a path through a network in simulated time: synctest's clock, no
// socket. Both directions are alike.
type link struct {
	conditions
	server func(request []byte) []byte
	dice   *rand.Rand

	mu       sync.Mutex
	down     bool // nothing comes through, nor out any more
	up, back lane
}

type conditions struct {
	delay  time.Duration // each way
	jitter time.Duration // at most, on top: what is sent later may come earlier
	loss   float64       // each way
	twice  float64       // how likely a datagram comes twice
	rate   float64       // bytes a second of the bottleneck, with what UDP and IP add; 0 is no bottleneck
	queue  int           // datagrams before the bottleneck; more are lost
}

func over(c conditions) *link { return &link{conditions: c} }

// A lane is one direction.
type lane struct {
	sent, lost int
	bytes      int
	free       time.Time // when the bottleneck has sent what is before it
	last       time.Time // when the last one comes out
}

const headers = 28 // bytes of IP and UDP

// carry has deliver called when the datagram comes out, if it does.
func (l *link) carry(w *lane, b []byte, deliver func([]byte)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	w.sent++
	w.bytes += len(b) + headers
	wait := l.delay
	if l.jitter > 0 {
		wait += time.Duration(l.dice.Int64N(int64(l.jitter)))
	}
	gone := l.down || l.dice.Float64() < l.loss
	if l.rate > 0 {
		each := time.Duration(float64(len(b)+headers) / l.rate * float64(time.Second))
		if w.free.Before(now) {
			w.free = now
		}
		if queued := w.free.Sub(now); int(queued/each) >= l.queue {
			gone = true
		} else {
			w.free = w.free.Add(each)
			wait += w.free.Sub(now)
		}
	}
	if gone {
		w.lost++
		return
	}
	out := now.Add(wait)
	if l.jitter == 0 && !out.After(w.last) {
		out = w.last.Add(1)
	}
	w.last = out
	copied := append([]byte{}, b...)
	if l.twice > 0 && l.dice.Float64() < l.twice {
		time.AfterFunc(out.Sub(now)+time.Duration(l.dice.Int64N(int64(2*l.delay))), func() { deliver(copied) })
	}
	time.AfterFunc(out.Sub(now), func() {
		l.mu.Lock()
		cut := l.down
		if cut {
			w.lost++
		}
		l.mu.Unlock()
		if !cut {
			deliver(copied)
		}
	})
}

// cut has nothing come through for a while.
func (l *link) cut(for_ time.Duration) {
	set := func(down bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.down = down
	}
	set(true)
	time.AfterFunc(for_, func() { set(false) })
}

// dial is a client's end.
func (l *link) dial(context.Context) (net.Conn, error) {
	return &end{link: l, in: make(chan []byte, 1024), wake: make(chan struct{}, 1), done: make(chan struct{})}, nil
}

// An end is a client's socket.
type end struct {
	net.Conn // what is not used
	link     *link
	in       chan []byte
	wake     chan struct{} // the deadline is another
	once     sync.Once
	done     chan struct{}

	mu       sync.Mutex
	deadline time.Time
}

func (e *end) Write(b []byte) (int, error) {
	e.link.carry(&e.link.up, b, func(request []byte) {
		if answer := e.link.server(request); answer != nil {
			e.link.carry(&e.link.back, answer, func(answer []byte) {
				select {
				case e.in <- answer:
				case <-e.done:
				}
			})
		}
	})
	return len(b), nil
}

func (e *end) Read(b []byte) (int, error) {
	for {
		e.mu.Lock()
		left := time.Until(e.deadline)
		e.mu.Unlock()
		if left <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
		timer := time.NewTimer(left)
		select {
		case d := <-e.in:
			timer.Stop()
			return copy(b, d), nil
		case <-e.done:
			return 0, net.ErrClosed
		case <-e.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (e *end) SetDeadline(at time.Time) error { return e.SetReadDeadline(at) }

func (e *end) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	e.deadline = t
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
	return nil
}

func (e *end) Close() error {
	e.once.Do(func() { close(e.done) })
	return nil
}

// A simulation is a download of a blob over a link.
type simulation struct {
	*link
	blob    []byte
	digest  string
	twist   func(b block, ans *message.Message) bool
	store   *content.Store
	took    time.Duration
	fetcher *Fetcher
}

// simulate runs a download of n bytes in simulated time. during, if not nil, is told
// how far it is.
func simulate(t *testing.T, n int, l *link, twist func(b block, ans *message.Message) bool, during func(s *simulation, done int64)) *simulation {
	t.Helper()
	return simulateWith(t, n, l, twist, during, Config{})
}

func simulateWith(t *testing.T, n int, l *link, twist func(b block, ans *message.Message) bool, during func(s *simulation, done int64), cfg Config) *simulation {
	t.Helper()
	s := &simulation{link: l, twist: twist}
	s.blob, s.digest = randomBlob(n)
	server := &coapServer{content: map[string][]byte{blobPath(s.digest): s.blob}, twist: twist}
	var one sync.Mutex // requests come at the same time
	l.server = func(request []byte) []byte {
		one.Lock()
		defer one.Unlock()
		req := message.Message{Options: make(message.Options, 0, 16)}
		if _, err := coder.DefaultCoder.Decode(request, &req); err != nil {
			t.Errorf("malformed request: %v", err)
			return nil
		}
		return server.answer(req)
	}
	l.dice = rand.New(rand.NewPCG(7, 7))
	s.store = openStore(t, t.TempDir())
	cfg.URL, cfg.Store = "coap://server", s.store
	synctest.Test(t, func(t *testing.T) {
		var err error
		if s.fetcher, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		s.fetcher.origins[0].source.(*coapSource).dial = l.dial
		began := time.Now()
		err = s.fetcher.Blob(t.Context(), component, s.digest, int64(n), func(done, _ int64) {
			if during != nil {
				during(s, done)
			}
		})
		s.took = time.Since(began)
		if err != nil {
			t.Error(err)
		}
	})
	if !t.Failed() {
		checkBlob(t, s.store, s.digest, s.blob)
	}
	return s
}

// rate is bytes of the blob a second.
func (s *simulation) rate() float64 { return float64(len(s.blob)) / s.took.Seconds() }

// wasted is the share of requests that brought a block that had come already, or
// was to come.
func (s *simulation) wasted() float64 {
	blocks := (len(s.blob) + 1023) / 1024
	return float64(s.up.sent-s.up.lost-s.back.lost-blocks) / float64(s.up.sent)
}

const (
	mbit  = 125_000.0 // bytes a second
	delay = 25 * time.Millisecond
)

// TestRates downloads 2 MiB over all sorts of links: as fast as they allow, and
// without burdening them for nothing.
func TestRates(t *testing.T) {
	for name, tt := range map[string]struct {
		link  *link
		least float64 // bytes a second
		waste float64 // at most
	}{
		"1 Mbit/s":                   {over(conditions{delay: delay, rate: mbit, queue: 32}), 0.9 * mbit * 1024 / 1100, 0.01},
		"1 Mbit/s, short queue":      {over(conditions{delay: delay, rate: mbit, queue: 8}), 0.85 * mbit, 0.05},
		"1 Mbit/s, long queue":       {over(conditions{delay: delay, rate: mbit, queue: 500}), 0.85 * mbit, 0.01},
		"10 Mbit/s":                  {over(conditions{delay: delay, rate: 10 * mbit, queue: 32}), 0.75 * 10 * mbit, 0.02},
		"1 Mbit/s, 1 % loss":         {over(conditions{delay: delay, rate: mbit, queue: 32, loss: 0.01}), 0.8 * mbit, 0.05},
		"10 Mbit/s, 1 % loss":        {over(conditions{delay: delay, rate: 10 * mbit, queue: 32, loss: 0.01}), 68_000 /* 20 × libcoap */, 0.05},
		"10 Mbit/s, 5 % loss":        {over(conditions{delay: delay, rate: 10 * mbit, queue: 32, loss: 0.05}), 68_000, 0.1},
		"64 kbit/s, 1 s there":       {over(conditions{delay: time.Second, rate: 8000, queue: 20}), 5_500, 0.05},
		"what is later comes before": {over(conditions{delay: delay, jitter: 20 * time.Millisecond}), 200_000, 0.05},
	} {
		t.Run(name, func(t *testing.T) {
			n := 2 << 20
			if tt.link.rate == 8000 {
				n = 256 << 10
			}
			s := simulate(t, n, tt.link, nil, nil)
			t.Logf("%.0f bytes/s, %.2f of the rate, %.3f wasted, %d sent, %d and %d lost",
				s.rate(), s.rate()/max(tt.link.rate, 1), s.wasted(), s.up.sent, s.up.lost, s.back.lost)
			if s.rate() < tt.least {
				t.Errorf("%.0f bytes a second, want %.0f", s.rate(), tt.least)
			}
			if s.wasted() > tt.waste {
				t.Errorf("%.1f %% of the requests are wasted", 100*s.wasted())
			}
		})
	}
}

// TestOutage cuts the link at many points, for a moment and for long.
func TestOutage(t *testing.T) {
	for _, long := range []time.Duration{200 * time.Millisecond, 3 * time.Second, 40 * time.Second} {
		for at := range 8 {
			from := int64(at * 40_000)
			once := false
			s := simulate(t, 300_000, over(conditions{delay: delay, rate: mbit, queue: 32}), nil, func(s *simulation, done int64) {
				if !once && done > from {
					once = true
					s.cut(long)
				}
			})
			if again := s.back.sent - s.back.lost - 293; again > 64+8 {
				t.Errorf("%v from byte %d on: %d blocks came twice", long, from, again)
			}
			if s.took > long+40*time.Second {
				t.Errorf("%v from byte %d on: took %v", long, from, s.took)
			}
		}
	}
}

// TestSlower has round trips become ten times as long, for good: requests are not
// sent twice because of that for more than a moment.
func TestSlower(t *testing.T) {
	s := simulate(t, 500_000, over(conditions{delay: delay}), nil, func(s *simulation, done int64) {
		if done > 100_000 {
			s.mu.Lock()
			s.delay = 10 * delay
			s.mu.Unlock()
		}
	})
	if s.wasted() > 0.1 {
		t.Errorf("%.1f %% of the requests are wasted", 100*s.wasted())
	}
}

// TestAnyPath downloads over a hundred paths that lose, double, delay and reorder, with
// outages and with servers of every kind: always the right bytes, in the end.
func TestAnyPath(t *testing.T) {
	for seed := range uint64(100) {
		dice, cutting := rand.New(rand.NewPCG(seed, 3)), rand.New(rand.NewPCG(seed, 4)) // the server's, and the client's
		l := over(conditions{delay: time.Duration(1 + dice.Int64N(int64(300*time.Millisecond))), queue: 1 + dice.IntN(60)})
		l.loss, l.twice = dice.Float64()*dice.Float64()*0.2, dice.Float64()*dice.Float64()*0.2
		if dice.IntN(2) == 0 {
			l.jitter = time.Duration(1 + dice.Int64N(int64(l.delay)))
		}
		if dice.IntN(2) == 0 {
			l.rate = 4000 * math.Pow(1000, dice.Float64())
		}
		lowest, from, fickle := uint8(4+dice.IntN(3)), int64(dice.IntN(60_000)), dice.IntN(4) == 0
		n := 1 + dice.IntN(60_000)
		cuts := 0
		s := simulate(t, n, l, func(b block, ans *message.Message) bool {
			if b.szx > lowest && b.offset() >= from { // smaller blocks from here on
				size := int64(16) << lowest
				more := b.offset()+size < int64(n)
				ans.Payload = ans.Payload[:min(size, int64(len(ans.Payload)))]
				setUint(ans, message.Block2, block{num: b.offset() / size, szx: lowest, more: more}.encode())
			}
			return !fickle || dice.IntN(20) > 0
		}, func(s *simulation, done int64) {
			if cuts < 3 && cutting.IntN(40) == 0 {
				cuts++
				s.cut(time.Duration(cutting.Int64N(int64(5 * time.Second))))
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d: blocks of %d from byte %d of %d on, %+v, %+v, after %v", seed, 16<<lowest, from, n, l.conditions, l.up, s.took)
		}
	}
}

// TestServersOrder has servers that serve blocks in sequence only, and say so in
// different ways; nobody is asked for two blocks at once before it has proven to
// bear that.
func TestServersOrder(t *testing.T) {
	type server struct {
		next  int64
		other func(s *server, b block, ans *message.Message) bool
	}
	sequence := func(other func(s *server, b block, ans *message.Message) bool) func(block, *message.Message) bool {
		s := &server{other: other}
		return func(b block, ans *message.Message) bool {
			if b.offset() > s.next {
				return s.other(s, b, ans)
			}
			s.next = max(s.next, b.offset()+b.size())
			return true
		}
	}
	for name, other := range map[string]func(s *server, b block, ans *message.Message) bool{
		"another block": func(s *server, b block, ans *message.Message) bool {
			setUint(ans, message.Block2, block{num: s.next / b.size(), more: true, szx: b.szx}.encode())
			return true
		},
		"4.08": func(_ *server, _ block, ans *message.Message) bool {
			ans.Code, ans.Payload = 0x88, nil
			return true
		},
		"silence": func(*server, block, *message.Message) bool { return false },
	} {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, 50_000, over(conditions{delay: delay}), sequence(other), nil)
			if s.up.sent > 49+2*maxProbes {
				t.Errorf("%d requests for 49 blocks", s.up.sent)
			}
		})
	}
	t.Run("any", func(t *testing.T) {
		var asked []int64
		simulate(t, 20_000, over(conditions{delay: delay}), func(b block, _ *message.Message) bool {
			asked = append(asked, b.num)
			return true
		}, nil)
		if asked[0] != 0 || asked[1] != 2 || asked[2] != 1 {
			t.Errorf("asked for %v", asked)
		}
	})
}

// TestServerLowersBlockSize in the middle: no byte is sent twice for that.
func TestServerLowersBlockSize(t *testing.T) {
	const n = 200_000
	var sent int
	simulate(t, n, over(conditions{delay: delay}), func(b block, ans *message.Message) bool {
		if b.offset() > n/2 && b.szx > 5 {
			ans.Payload = ans.Payload[:min(512, len(ans.Payload))]
			setUint(ans, message.Block2, block{num: b.offset() / 512, szx: 5, more: b.offset()+512 < n}.encode())
		}
		sent += len(ans.Payload)
		return true
	}, nil)
	if sent != n {
		t.Errorf("%d bytes sent for %d", sent, n)
	}
}

// TestLargeBlocksLost has a path lose them from the middle on: smaller ones are asked
// for, and large ones again when only the link was down.
func TestLargeBlocksLost(t *testing.T) {
	const n = 200_000
	largest := map[int64]uint8{}
	s := simulate(t, n, over(conditions{delay: delay}), func(b block, _ *message.Message) bool {
		if b.offset() >= n/2 && b.size() > 512 {
			return false
		}
		largest[b.offset()] = b.szx
		return true
	}, nil)
	if s.took > 15*time.Second {
		t.Errorf("took %v", s.took)
	}
	if szx := largest[190_464]; szx != 5 {
		t.Errorf("blocks at the end have %d bytes", 16<<szx)
	}
}

// TestEcho has a server that answers only who shows that he gets its answers.
func TestEcho(t *testing.T) {
	for name, preemptive := range map[string]bool{"when asked": false, "at once": true} {
		t.Run(name, func(t *testing.T) {
			refused := 0
			blob, digest := randomBlob(100_000)
			server := &coapServer{content: map[string][]byte{blobPath(digest): blob}}
			token := []byte("first")
			l := &link{conditions: conditions{delay: delay}, dice: rand.New(rand.NewPCG(1, 1))}
			l.server = func(request []byte) []byte {
				req := message.Message{Options: make(message.Options, 0, 16)}
				if _, err := coder.DefaultCoder.Decode(request, &req); err != nil {
					t.Error(err)
				}
				shown, _ := req.Options.GetBytes(optionEcho)
				ans := message.Message{Options: make(message.Options, 0, 16)}
				if _, err := coder.DefaultCoder.Decode(server.answer(req), &ans); err != nil {
					t.Error(err)
				}
				if string(shown) != string(token) && !preemptive {
					refused++
					ans = message.Message{Type: ans.Type, MessageID: ans.MessageID, Token: ans.Token, Code: 0x81}
				}
				if string(shown) != string(token) {
					ans.Options = ans.Options.Add(message.Option{ID: optionEcho, Value: token})
				}
				if refused == 1 && len(server.asked) > 30 { // it changes what it wants to see
					token = []byte("second")
				}
				b, err := encode(ans)
				if err != nil {
					t.Error(err)
				}
				return b
			}
			store := openStore(t, t.TempDir())
			synctest.Test(t, func(t *testing.T) {
				f, err := New(Config{URL: "coap://server", Store: store})
				if err != nil {
					t.Fatal(err)
				}
				f.origins[0].source.(*coapSource).dial = l.dial
				if err := f.Blob(t.Context(), component, digest, int64(len(blob)), nil); err != nil {
					t.Fatal(err)
				}
			})
			checkBlob(t, store, digest, blob)
			if preemptive && refused > 0 || refused > 1+64 || !preemptive && refused < 2 {
				t.Errorf("%d requests were refused", refused)
			}
		})
	}
	t.Run("never content", func(t *testing.T) {
		_, err := blobOverCoAP(t, 10_000, little, func(_ block, ans *message.Message) bool {
			ans.Code, ans.Payload = 0x81, nil
			ans.Options = ans.Options.Add(message.Option{ID: optionEcho, Value: ans.Token})
			return true
		})
		if !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrRefused) {
			t.Error(err)
		}
	})
}
