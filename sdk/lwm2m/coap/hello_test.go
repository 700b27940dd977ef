package coap

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// exampleHello offers TLS_PSK_WITH_AES_128_CCM_8, and no extensions.
func exampleHello() hello {
	h := hello{sequence: 7, random: [32]byte{1, 2, 3}, behind: []byte{0, 2, 0xc0, 0xa8, 1, 0}}
	h.before = append(append([]byte{0xfe, 0xfd}, h.random[:]...), 0)
	h.offered = h.behind
	return h
}

func reread(t *testing.T, datagram []byte) (h hello) {
	t.Helper()
	r, rest, ok := cutRecord(datagram, connectionIDs)
	if !ok || len(rest) != 0 || !isHello(r) {
		t.Fatalf("%x is no hello", datagram)
	}
	if h, ok = parseHello(r); !ok {
		t.Fatalf("cannot read the hello %x", datagram)
	}
	return h
}

// TestHelloOfAnyVersion: Mbed TLS 2 says hello in records of version 0xfe00. What else has
// such a version is no record.
func TestHelloOfAnyVersion(t *testing.T) {
	b := exampleHello().datagram(7, 0, nil)
	b[2] = 0
	if h := reread(t, b); h.sequence != 7 {
		t.Errorf("hello %d", h.sequence)
	}
	b[recordHeader] = helloVerifyRequest
	if _, _, ok := cutRecord(b, 0); ok {
		t.Error("a record of an unknown version")
	}
}

func TestCookies(t *testing.T) {
	c, from := newCookies(), netip.MustParseAddrPort("192.0.2.1:5684")
	h := exampleHello()
	request := c.request(from, h)
	r, _, _ := cutRecord(request, 0)
	if r.kind != handshake || r.body[0] != helloVerifyRequest || r.sequence != h.sequence || len(request) > len(h.datagram(0, 0, nil)) {
		t.Fatalf("the request for a cookie is %x", request)
	}
	h = reread(t, h.datagram(8, 1, r.body[len(r.body)-cookieLength:]))
	if !c.valid(from, h) {
		t.Error("a cookie is not valid")
	}
	for _, other := range []string{"192.0.2.1:5685", "192.0.2.2:5684", "[::ffff:192.0.2.1]:5684"} {
		if c.valid(netip.MustParseAddrPort(other), h) {
			t.Errorf("the cookie is valid from %s too", other)
		}
	}
	changed := h
	changed.offered = []byte{0, 2, 0xc0, 0xa4, 1, 0}
	if other := newCookies(); c.valid(from, changed) || other.valid(from, h) {
		t.Error("the cookie is valid for another offer, or another server")
	}
	c.begun = c.begun.Add(-cookieTime)
	if !c.valid(from, h) {
		t.Error("the cookie has no time")
	}
	c.begun = c.begun.Add(-cookieTime)
	if c.valid(from, h) {
		t.Error("the cookie is valid for ever")
	}
}

// FuzzRecords: whatever anybody sends, nothing panics, and pion sees whole records
// of a session only; those in plaintext not after its handshake.
func FuzzRecords(f *testing.F) {
	h := exampleHello()
	f.Add(h.datagram(0, 0, nil))
	f.Add(h.datagram(1, 1, make([]byte, cookieLength)))
	f.Add([]byte("\x17\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x09\x00\x01x"))
	f.Add([]byte("\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x09\x00\x02\x02\x28\x14\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x09\x00\x02xx"))
	f.Add([]byte("\x19\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x0901234567\x00\x05hello"))
	from := netip.MustParseAddrPort("192.0.2.1:5684")
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range []*screen{{ids: connectionIDs}, {}} {
			passed := s.pass(nil, b)
			s.settled.Store(true)
			encrypted := s.pass(nil, b)
			if len(passed) > len(b) || len(encrypted) > len(passed) || !bytes.Equal(encrypted, s.pass(nil, passed)) {
				t.Fatalf("%x lets through %x, then %x", b, passed, encrypted)
			}
			rest := encrypted
			for len(rest) > 0 {
				r, next, ok := cutRecord(rest, s.ids)
				if !ok || r.epoch == 0 || r.kind == changeCipherSpec {
					t.Fatalf("%x lets through %x", b, encrypted)
				}
				rest = next
			}
		}
		renumber(b, 1)
		l := &listener{cookies: newCookies(), socket: new(net.UDPConn)} // it answers to nowhere
		l.arrive(from, b)
		r, _, ok := cutRecord(b, connectionIDs)
		if !ok || !isHello(r) {
			return
		}
		if h, ok := parseHello(r); ok {
			again := reread(t, h.datagram(h.sequence, h.message, h.cookie))
			if diff := cmp.Diff(h, again, cmp.AllowUnexported(hello{}), cmp.Comparer(bytes.Equal)); diff != "" {
				t.Errorf("read, written and read again (-first +second):\n%s", diff)
			}
		}
	})
}
