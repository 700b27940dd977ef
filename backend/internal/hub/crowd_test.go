package hub

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/places"
)

// connFrom is a connection from anywhere, and tells when it is closed.
type connFrom struct {
	net.Conn
	from string
}

func (c connFrom) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}

func come(t *testing.T, from string) (here connFrom, there net.Conn) {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	return connFrom{near, from}, far
}

// arrivals are accepted in turn, then no more.
type arrivals struct {
	net.Listener
	next chan net.Conn
}

func (a arrivals) Accept() (net.Conn, error) {
	if conn, more := <-a.next; more {
		return conn, nil
	}
	return nil, net.ErrClosed
}

// TestCrowdOfClients: one network cannot take all connections of the back end; others get theirs, and so does it when
// one of its own has ended.
func TestCrowdOfClients(t *testing.T) {
	a := arrivals{next: make(chan net.Conn, 8)}
	l := newCrowded(a)
	offer := func(from string) (there net.Conn) {
		here, there := come(t, from)
		a.next <- here
		return there
	}
	accept := func(from string) net.Conn {
		t.Helper()
		conn, err := l.Accept()
		if err != nil || conn.RemoteAddr().String() != from {
			t.Fatalf("%v, %v, want %s", conn, err, from)
		}
		return conn
	}
	var first net.Conn
	for range maxClientsEach {
		offer("192.0.2.1:1000")
		if conn := accept("192.0.2.1:1000"); first == nil {
			first = conn
		}
	}
	excess := offer("192.0.2.1:1001")
	offer("192.0.2.2:1000")
	accept("192.0.2.2:1000")
	if _, err := excess.Read(make([]byte, 1)); err == nil {
		t.Error("one too many is still there")
	}
	first.Close()
	first.Close()
	offer("192.0.2.1:1002")
	accept("192.0.2.1:1002")
	if offer("192.0.2.1:1003"); len(a.next) != 1 {
		t.Fatal("no arrival")
	}
	close(a.next)
	if conn, err := l.Accept(); err == nil {
		t.Errorf("closed twice, counted twice: %v", conn.RemoteAddr())
	}
}

// TestSilentStrangers: whoever connects and says nothing has a place until another network wants it.
func TestSilentStrangers(t *testing.T) {
	h := &Hub{log: slog.New(slog.DiscardHandler), greetings: places.Places{Max: 8, Share: greetingShare}}
	greeted := make(chan func(context.Context), 16)
	begin := func(from string) (there net.Conn) {
		here, there := come(t, from)
		go func() {
			defer here.Close()
			greeted <- h.greet(t.Context(), here)
		}()
		return there
	}
	var silent []net.Conn
	for range 8 {
		conn := begin("192.0.2.1:1000")
		silent = append(silent, conn)
		if _, err := conn.Write([]byte{0x10}); err != nil { // read, so it has its place; and no more comes
			t.Fatal(err)
		}
	}
	other := begin("192.0.2.2:1000")
	if <-greeted != nil { // one of the silent ones has given way
		t.Error("a silent stranger was let in")
	}
	if _, err := other.Write([]byte("\xe0\x00")); err != nil { // a DISCONNECT, read: it has a place
		t.Error(err)
	}
	if <-greeted != nil {
		t.Error("a stranger was let in without a CONNECT")
	}
	for _, conn := range silent {
		conn.Close()
	}
	for range 7 {
		<-greeted
	}
}
