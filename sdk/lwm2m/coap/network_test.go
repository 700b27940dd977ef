package coap_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// weather is what may happen to a datagram: how likely it is lost, repeated or
// late. One that is late takes half of longest at least, and what was sent behind
// it overtakes it.
type weather struct {
	lose, repeat, late float64
	longest            time.Duration
	loseFirst          bool // each datagram is lost, and comes only when it is sent again
}

// network forwards datagrams between a device and a server through its weather,
// as its seed says.
type network struct {
	front, back *net.UDPConn
	up, down    *way
	workers     sync.WaitGroup

	mu     sync.Mutex
	device *net.UDPAddr
}

func startNetwork(t *testing.T, server string, seed uint64, w weather) *network {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	n := new(network)
	if n.front, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	if n.back, err = net.DialUDP("udp", nil, to); err != nil {
		t.Fatal(err)
	}
	n.up = newWay(w, seed, func(b []byte) { _, _ = n.back.Write(b) })
	n.down = newWay(w, seed+1, func(b []byte) { _, _ = n.front.WriteToUDP(b, n.home()) })
	n.workers.Go(n.forward)
	n.workers.Go(n.backward)
	t.Cleanup(func() {
		n.front.Close()
		n.back.Close()
		n.workers.Wait()
		n.up.late.Wait()
		n.down.late.Wait()
	})
	return n
}

func (n *network) address() string { return n.front.LocalAddr().String() }

func (n *network) home() *net.UDPAddr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.device
}

func (n *network) forward() {
	b := make([]byte, 1<<16)
	for {
		size, from, err := n.front.ReadFromUDP(b)
		if err != nil {
			return
		}
		n.mu.Lock()
		n.device = from
		n.mu.Unlock()
		n.up.carry(string(b[:size]))
	}
}

func (n *network) backward() {
	b := make([]byte, 1<<16)
	for {
		size, err := n.back.Read(b)
		if err != nil {
			return
		}
		n.down.carry(string(b[:size]))
	}
}

// harm is what has happened to datagrams.
type harm struct{ lost, repeated, overtaken int }

func (n *network) harm() harm {
	u, d := n.up.sum(), n.down.sum()
	return harm{u.lost + d.lost, u.repeated + d.repeated, u.overtaken + d.overtaken}
}

// way is one direction. What happens to a datagram depends on the seed and on how
// many came before.
type way struct {
	weather weather
	deliver func([]byte)
	loses   func(datagram string) bool // beside what the weather does; may be nil
	late    sync.WaitGroup

	mu           sync.Mutex
	random       *rand.Rand
	sent, newest int
	seen         map[string]bool
	harm         harm
}

func newWay(w weather, seed uint64, deliver func([]byte)) *way {
	return &way{weather: w, deliver: deliver, random: rand.New(rand.NewPCG(seed, 0)), seen: map[string]bool{}}
}

// cut loses everything from now on, or no more.
func (w *way) cut(all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.weather.lose = 0
	if all {
		w.weather.lose = 1
	}
}

func (w *way) sum() harm {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.harm
}

func (w *way) carry(datagram string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent++
	number := w.sent
	for range w.copies(datagram) {
		if w.random.Float64() >= w.weather.late {
			w.arrive(number, datagram)
			continue
		}
		w.late.Add(1)
		time.AfterFunc(w.weather.longest/2+rand.N(w.weather.longest/2), func() {
			defer w.late.Done()
			w.mu.Lock()
			defer w.mu.Unlock()
			w.arrive(number, datagram)
		})
	}
}

// copies of the next datagram: none, one or two. The caller holds the lock.
func (w *way) copies(datagram string) int {
	first := !w.seen[datagram]
	w.seen[datagram] = true
	if w.loses != nil && w.loses(datagram) {
		w.harm.lost++
		return 0
	}
	switch x := w.random.Float64(); {
	case x < w.weather.lose, first && w.weather.loseFirst:
		w.harm.lost++
		return 0
	case x < w.weather.lose+w.weather.repeat:
		w.harm.repeated++
		return 2
	}
	return 1
}

// arrive ends a datagram's way. The caller holds the lock.
func (w *way) arrive(number int, datagram string) {
	if number < w.newest {
		w.harm.overtaken++
	}
	w.newest = max(w.newest, number)
	w.deliver([]byte(datagram))
}

// patient tries again more often than quick, for networks that lose much.
func patient() coap.Option {
	return coap.WithTransmission(coap.Transmission{AckTimeout: 40 * time.Millisecond, MaxRetransmit: 9})
}

// TestWeather registers, writes, reads and observes, also what is longer than a
// datagram, through bad weather: everything is done once and in order.
func TestWeather(t *testing.T) {
	late := 100 * time.Millisecond // longer than the first timeout
	for name, tt := range map[string]struct {
		weather weather
		secure  bool
		want    harm // at least
	}{
		"loss":                       {weather: weather{lose: 0.2}, want: harm{lost: 1}},
		"repeats":                    {weather: weather{repeat: 0.3}, want: harm{repeated: 1}},
		"delay, another order":       {weather: weather{late: 0.3, longest: late}, want: harm{overtaken: 1}},
		"everything":                 {weather: weather{lose: 0.1, repeat: 0.1, late: 0.2, longest: late}, want: harm{1, 1, 1}},
		"everything, over DTLS":      {weather: weather{lose: 0.1, repeat: 0.1, late: 0.2, longest: late}, want: harm{1, 1, 1}, secure: true},
		"each datagram is lost once": {weather: weather{loseFirst: true}, want: harm{lost: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := throughWeather(t, tt.weather, tt.secure)
			if h := n.harm(); h.lost < tt.want.lost || h.repeated < tt.want.repeated || h.overtaken < tt.want.overtaken {
				t.Errorf("the weather was better than it should be: %+v", h)
			}
		})
	}
}

func throughWeather(t *testing.T, w weather, secure bool) *network {
	t.Helper()
	scheme, server, client := "coap://", []coap.Option{patient()}, []coap.Option{patient()}
	if secure {
		scheme, server, client = "coaps://", append(server, coap.PSKs(keys)), append(client, coap.PSK("device-1", secret))
	}
	s := startServerAt(t, scheme+"127.0.0.1:0", func(*lwm2m.ServerConfig) {}, server...)
	n := startNetwork(t, s.address, 1, w)
	d := startDevice(t, scheme+n.address(), nil, client...)
	var written, seen list
	d.hook(written.note, nil)
	remote := s.event(t, lwm2m.Registered).Device
	ctx := deadline(t)
	if _, err := remote.Observe(ctx, wanted, func(r []lwm2m.Record) { _ = seen.note(ctx, r) }); err != nil {
		t.Fatal(err)
	}
	var sent []string
	for i := range 6 {
		v := fmt.Sprintf("%02d", i)
		if i%2 == 1 {
			v = fmt.Sprintf("%02d%03000d", i, 0) // in blocks
		}
		sent = append(sent, v)
		writeAndRead(t, remote, v)
		if err := d.Deliver(ctx, wanted); err != nil {
			t.Fatal(i, err)
		}
	}
	last := sent[len(sent)-1]
	eventually(t, "the last value is notified", func() bool { all := seen.get(); return len(all) > 0 && all[len(all)-1] == last })
	if got := written.get(); fmt.Sprint(got) != fmt.Sprint(sent) {
		t.Errorf("written %.200v, want %.200v", got, sent)
	}
	for i, v := range seen.get()[1:] {
		if v < seen.get()[i] {
			t.Errorf("notified out of order: %.2s after %.2s", v, seen.get()[i])
		}
	}
	return n
}

func writeAndRead(t *testing.T, remote *lwm2m.Device, v string) {
	t.Helper()
	if err := remote.Write(deadline(t), wanted, lwm2m.Replace, []lwm2m.Record{{Path: wanted, Value: lwm2m.String(v)}}); err != nil {
		t.Fatal(err)
	}
	records, err := remote.Read(deadline(t), wanted)
	if err != nil || len(records) != 1 || records[0].Value.Text() != v {
		t.Fatalf("read %.60v instead of %.30s, %v", records, v, err)
	}
}
