package coap

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/places"
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
	if _, err := come("192.0.2.1:1001"); !errors.Is(err, places.ErrCrowded) {
		t.Errorf("one more: %v", err)
	}
	if _, err := come("192.0.2.2:1000"); err != nil {
		t.Errorf("another network: %v", err)
	}
	l.leave(last)
	if _, err := come("192.0.2.1:1002"); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
}
