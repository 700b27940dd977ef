package coap

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"testing"
)

// A conn from anywhere.
type connFrom struct {
	net.Conn
	from *net.TCPAddr
}

func (c connFrom) RemoteAddr() net.Addr { return c.from }

// TestCrowd: of one network so many connections in plaintext are open at once and no
// more, until one of them ends; others do not mind.
func TestCrowd(t *testing.T) {
	l, err := listenTCP(netip.MustParseAddrPort("127.0.0.1:0"), newSettings(nil), false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	come := func(from string) (*session, error) {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		s := &session{conn: connFrom{near, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))}}
		return s, l.enter(s)
	}
	var last *session
	for range maxNamelessEach {
		if last, err = come("192.0.2.1:1000"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := come("192.0.2.1:1001"); !errors.Is(err, errCrowded) {
		t.Errorf("one more: %v", err)
	}
	for _, from := range []string{"192.0.2.2:1000", "[2001:db8::1]:1000", "127.0.0.1:1000"} {
		if _, err := come(from); err != nil {
			t.Errorf("another from %s: %v", from, err)
		}
	}
	for i := range maxNamelessEach { // any of the 64 bits that one has
		a := netip.MustParseAddr("2001:db8::2").As16()
		a[15] = byte(i)
		_, err = come(netip.AddrPortFrom(netip.AddrFrom16(a), 1000).String())
	}
	if !errors.Is(err, errCrowded) {
		t.Errorf("many addresses of one network: %v", err)
	}
	l.leave(last)
	if _, err := come("192.0.2.1:1002"); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
	l.mu.Lock()
	for n := len(l.open); n < maxNameless; n++ {
		l.open["peer "+strconv.Itoa(n)] = last
	}
	l.mu.Unlock()
	if _, err := come("198.51.100.1:1000"); !errors.Is(err, errCrowded) {
		t.Errorf("when all places are taken: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.open, func(_ string, s *session) bool { return s == last })
}
