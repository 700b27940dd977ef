package coap

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// crowd begins handshakes from addresses, and gives who was ended.
type crowd struct {
	handshakes
	ended map[string]int
}

func (c *crowd) begin(address string) (g *greeting, greedy bool) {
	return c.handshakes.begin(netip.MustParseAddr(address), func() { c.ended[address]++ })
}

func (c *crowd) age(by time.Duration) {
	for _, g := range c.open {
		g.begun = g.begun.Add(-by)
	}
}

func TestHandshakesAreShared(t *testing.T) {
	c := &crowd{ended: map[string]int{}}
	honest, _ := c.begin("192.0.2.1")
	for i := range maxHandshakes - 1 {
		c.begin(fmt.Sprintf("2001:db8::%x", i+1)) // one network
	}
	if g, greedy := c.begin("2001:db8::ffff"); g != nil || !greedy {
		t.Error("who has the most got more")
	}
	for i := range 100 {
		if g, _ := c.begin(fmt.Sprintf("198.51.100.%d", i)); g == nil {
			t.Fatalf("another network got no place, after %d", i)
		}
	}
	if len(c.open) != maxHandshakes || c.ended["2001:db8::1"] != 1 || c.ended["2001:db8::64"] != 1 || len(c.ended) != 100 {
		t.Errorf("%d are open, %d gave way", len(c.open), len(c.ended))
	}
	if c.end(honest) {
		t.Error("a network with one handshake gave way")
	}
}

// TestHandshakesOfManyGiveWayInTime has as many networks as places.
func TestHandshakesOfManyGiveWayInTime(t *testing.T) {
	c := &crowd{ended: map[string]int{}}
	var first *greeting
	for i := range maxHandshakes {
		g, _ := c.begin(fmt.Sprintf("10.0.%d.%d", i/200, i%200))
		if i == 0 {
			first = g
		}
	}
	if g, greedy := c.begin("192.0.2.1"); g != nil || greedy {
		t.Errorf("got a place of others that have just begun: %v, greedy: %v", g, greedy)
	}
	c.age(2 * handshakeShare)
	if g, _ := c.begin("192.0.2.1"); g == nil || c.ended["10.0.0.0"] != 1 || !c.end(first) {
		t.Error("the oldest, which has had its time, did not give way")
	}
}

func TestHellosWait(t *testing.T) {
	var w waiting
	address := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i))
	}
	w.add(address(0), make([]byte, maxWaitingHello+1))
	for i := range 2 * maxWaitingHellos {
		w.add(address(i), []byte("first"))
	}
	w.add(address(0), []byte("again"))
	if len(w.order) != maxWaitingHellos || len(w.hellos) != maxWaitingHellos {
		t.Errorf("%d wait, of %d it is known", len(w.order), len(w.hellos))
	}
	if from, hello, ok := w.next(); !ok || from != address(0) || string(hello) != "again" {
		t.Errorf("the first is %v, %q", from, hello)
	}
	for a, h := range w.hellos {
		h.at = h.at.Add(-helloPatience)
		w.hellos[a] = h
	}
	if from, _, ok := w.next(); ok || len(w.order)+len(w.hellos) != 0 {
		t.Errorf("%v waits for ever", from)
	}
}
