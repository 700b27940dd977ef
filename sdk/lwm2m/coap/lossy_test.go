package coap_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// lossy forwards datagrams between devices and a server, loses some and repeats
// some, as its seed says.
type lossy struct {
	front, back *net.UDPConn
	mu          sync.Mutex
	random      *rand.Rand
	device      *net.UDPAddr
	lost        int
}

func startLossy(t *testing.T, server string, seed uint64) *lossy {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{random: rand.New(rand.NewPCG(seed, 0))}
	if l.front, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	if l.back, err = net.DialUDP("udp", nil, to); err != nil {
		t.Fatal(err)
	}
	var workers sync.WaitGroup
	workers.Go(l.up)
	workers.Go(l.down)
	t.Cleanup(func() {
		l.front.Close()
		l.back.Close()
		workers.Wait()
	})
	return l
}

// copies of the next datagram: none, one or two.
func (l *lossy) copies() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch x := l.random.Float64(); {
	case x < 0.25:
		l.lost++
		return 0
	case x < 0.35:
		return 2
	}
	return 1
}

func (l *lossy) losses() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

func (l *lossy) up() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := l.front.ReadFromUDP(b)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.device = from
		l.mu.Unlock()
		for range l.copies() {
			_, _ = l.back.Write(b[:n])
		}
	}
}

func (l *lossy) down() {
	b := make([]byte, 1<<16)
	for {
		n, err := l.back.Read(b)
		if err != nil {
			return
		}
		l.mu.Lock()
		to := l.device
		l.mu.Unlock()
		for range l.copies() {
			_, _ = l.front.WriteToUDP(b[:n], to)
		}
	}
}

// TestLoss loses a quarter of all datagrams each way: everything is done, once
// and in order.
func TestLoss(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	proxy := startLossy(t, s.address, 1)
	d := startDevice(t, proxy.front.LocalAddr().String(), nil)
	remote := s.event(t, lwm2m.Registered).Device
	ctx := deadline(t)
	var mu sync.Mutex
	var written, seen []string
	d.hook(onWrite(&mu, &written), nil)
	_, err := remote.Observe(ctx, wanted, func(records []lwm2m.Record) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, records[0].Value.Text())
	})
	if err != nil {
		t.Fatal(err)
	}
	var sent []string
	for i := range 8 {
		v := fmt.Sprintf("%02d", i)
		sent = append(sent, v)
		if err := remote.Write(ctx, wanted, lwm2m.Replace, []lwm2m.Record{{Path: wanted, Value: lwm2m.String(v)}}); err != nil {
			t.Fatal(i, err)
		}
		if err := d.Deliver(ctx, wanted); err != nil {
			t.Fatal(i, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(written) != fmt.Sprint(sent) {
		t.Errorf("written %v, want %v", written, sent)
	}
	for i := range seen[1:] {
		if seen[i] > seen[i+1] {
			t.Errorf("notified out of order: %v", seen)
		}
	}
	if seen[len(seen)-1] != sent[len(sent)-1] {
		t.Errorf("the last notification is %q", seen[len(seen)-1])
	}
	if proxy.losses() == 0 {
		t.Error("nothing was lost")
	}
}

// onWrite notes the values that reach the device.
func onWrite(mu *sync.Mutex, written *[]string) func(ctx context.Context, records []lwm2m.Record) error {
	return func(_ context.Context, records []lwm2m.Record) error {
		mu.Lock()
		defer mu.Unlock()
		*written = append(*written, records[0].Value.Text())
		return nil
	}
}

// TestLossOfBlocks sends long values block-wise through the same loss.
func TestLossOfBlocks(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	proxy := startLossy(t, s.address, 2)
	d := startDevice(t, proxy.front.LocalAddr().String(), nil)
	remote := s.event(t, lwm2m.Registered).Device
	long := lwm2m.String(fmt.Sprintf("%08000d", 7))
	if err := remote.Write(deadline(t), wanted, lwm2m.Replace, []lwm2m.Record{{Path: wanted, Value: long}}); err != nil {
		t.Fatal(err)
	}
	if d.component.Value(wanted) != long {
		t.Error("another value was written")
	}
	records, err := remote.Read(deadline(t), wanted)
	if err != nil || records[0].Value != long {
		t.Errorf("another value was read: %.60v, %v", records, err)
	}
}
