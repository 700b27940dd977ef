package places

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// busy are places with a note of who gave way.
type busy struct {
	Places
	ended map[string]int
}

func newBusy() *busy {
	return &busy{Places{Max: 256, Share: 8 * time.Second}, map[string]int{}}
}

func (b *busy) begin(address string) (g *Place, greedy bool) {
	return b.Begin(netip.MustParseAddr(address), func() { b.ended[address]++ })
}

func (b *busy) age(by time.Duration) {
	for _, g := range b.open {
		g.begun = g.begun.Add(-by)
	}
}

func TestPlacesAreShared(t *testing.T) {
	b := newBusy()
	honest, _ := b.begin("192.0.2.1")
	for i := range b.Max - 1 {
		b.begin(fmt.Sprintf("2001:db8::%x", i+1)) // one network
	}
	if g, greedy := b.begin("2001:db8::ffff"); g != nil || !greedy {
		t.Error("who has the most got more")
	}
	for i := range 100 {
		if g, _ := b.begin(fmt.Sprintf("198.51.100.%d", i)); g == nil {
			t.Fatalf("another network got no place, after %d", i)
		}
	}
	if len(b.open) != b.Max || b.ended["2001:db8::1"] != 1 || b.ended["2001:db8::64"] != 1 || len(b.ended) != 100 {
		t.Errorf("%d are open, %d gave way", len(b.open), len(b.ended))
	}
	if b.End(honest) {
		t.Error("a network with one place gave way")
	}
}

// TestManyGiveWayInTime has as many networks as places.
func TestManyGiveWayInTime(t *testing.T) {
	b := newBusy()
	var first *Place
	for i := range b.Max {
		g, _ := b.begin(fmt.Sprintf("10.0.%d.%d", i/200, i%200))
		if i == 0 {
			first = g
		}
	}
	if g, greedy := b.begin("192.0.2.1"); g != nil || greedy {
		t.Errorf("got a place of others that have just begun: %v, greedy: %v", g, greedy)
	}
	b.age(2 * b.Share)
	if g, _ := b.begin("192.0.2.1"); g == nil || b.ended["10.0.0.0"] != 1 || !b.End(first) {
		t.Error("the oldest, which has had its time, did not give way")
	}
}

// TestCrowd: of one network so many are here and no more, until one of them leaves;
// others do not mind.
func TestCrowd(t *testing.T) {
	c := Crowd{Max: 20, Each: 4}
	enter := func(address string) error { return c.Enter(netip.MustParseAddr(address)) }
	for range c.Each {
		if err := enter("192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := enter("192.0.2.1"); !errors.Is(err, ErrCrowded) {
		t.Errorf("one more: %v", err)
	}
	for _, from := range []string{"192.0.2.2", "2001:db8::1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1"} {
		if err := enter(from); err != nil {
			t.Errorf("another from %s: %v", from, err)
		}
	}
	var err error
	for i := range c.Each { // any of the 64 bits that one has
		err = enter(fmt.Sprintf("2001:db8::ffff:%x", i))
	}
	if !errors.Is(err, ErrCrowded) {
		t.Errorf("many addresses of one network: %v", err)
	}
	c.Leave(netip.MustParseAddr("192.0.2.1"))
	if err := enter("192.0.2.1"); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
	for c.all < c.Max {
		if err := enter("127.0.0.1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := enter("198.51.100.1"); !errors.Is(err, ErrCrowded) {
		t.Errorf("when all places are taken: %v", err)
	}
}

// A door is a listener to which connections of any address come.
type door chan net.Conn

func (d door) Accept() (net.Conn, error) { return <-d, nil }
func (d door) Close() error              { return nil }
func (d door) Addr() net.Addr            { return nil }

// A visitor comes from somewhere.
type visitor struct {
	net.Conn
	from string
}

func (v visitor) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(v.from))
}

// TestListen: connections beyond the crowd are closed, until somebody has left.
func TestListen(t *testing.T) {
	d := make(door, 8)
	l := (&Crowd{Max: 3, Each: 1}).Listen(d)
	come := func(from string) (far net.Conn) {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		d <- visitor{near, from}
		return far
	}
	accepted := func(want string) net.Conn {
		t.Helper()
		conn, err := l.Accept()
		if err != nil || conn.RemoteAddr().String() != want {
			t.Fatalf("%v, %v; want %s", conn, err, want)
		}
		return conn
	}
	come("192.0.2.1:1")
	first := accepted("192.0.2.1:1")
	excess := come("192.0.2.1:2")
	come("127.0.0.1:1")
	come("127.0.0.1:2")
	accepted("127.0.0.1:1")
	accepted("127.0.0.1:2")
	if _, err := excess.Read(make([]byte, 1)); err == nil {
		t.Error("one too many is still there")
	}
	first.Close()
	first.Close()
	come("192.0.2.1:3")
	guest := accepted("192.0.2.1:3").(*Guest)
	guest.Leave()
	come("192.0.2.2:1")
	accepted("192.0.2.2:1")
}
