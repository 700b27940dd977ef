package coap

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// Handshake messages.
const (
	clientHello        = 1
	helloVerifyRequest = 3
)

// hello is a ClientHello (RFC 6347 section 4.2.1).
type hello struct {
	sequence uint64 // of its record
	message  uint16 // 0 for the first of a handshake, 1 for that with a cookie
	random   [32]byte
	cookie   []byte
	before   []byte // the cookie: version, random, session id
	offered  []byte // cipher suites and compression methods
	behind   []byte // the cookie: offered, and extensions
}

func isHello(r record) bool {
	return r.kind == handshake && r.epoch == 0 && r.body[0] == clientHello
}

// parseHello reads a ClientHello that came in one piece: a server that keeps
// nothing cannot put pieces together.
func parseHello(r record) (h hello, ok bool) {
	b := r.body
	if len(b) < handshakeHeader+2+32 || int(number(b[1:4])) != len(b)-handshakeHeader || !bytes.Equal(b[1:4], b[9:12]) {
		return hello{}, false
	}
	h = hello{sequence: r.sequence, message: binary.BigEndian.Uint16(b[4:])}
	content := b[handshakeHeader:]
	copy(h.random[:], content[2:])
	_, rest, ok := cutField(content[34:], 1) // session id
	if !ok {
		return hello{}, false
	}
	h.before = content[:len(content)-len(rest)]
	if h.cookie, h.behind, ok = cutField(rest, 1); !ok {
		return hello{}, false
	}
	if _, rest, ok = cutField(h.behind, 2); ok { // cipher suites
		_, rest, ok = cutField(rest, 1) // compression methods
	}
	h.offered = h.behind[:len(h.behind)-len(rest)]
	return h, ok
}

// cutField takes a field with its length in front.
func cutField(b []byte, lengthBytes int) (field, rest []byte, ok bool) {
	if len(b) < lengthBytes {
		return nil, nil, false
	}
	end := lengthBytes + int(number(b[:lengthBytes]))
	if end > len(b) {
		return nil, nil, false
	}
	return b[lengthBytes:end], b[end:], true
}

// datagram is the hello with another cookie.
func (h hello) datagram(sequence uint64, message uint16, cookie []byte) []byte {
	content := append(bytes.Clone(h.before), byte(len(cookie)))
	content = append(append(content, cookie...), h.behind...)
	return plainHandshake(sequence, clientHello, message, content)
}

// plainHandshake is a handshake message in a record of epoch 0, as version 1.0: that
// is what every peer reads before a version is agreed on.
func plainHandshake(sequence uint64, kind byte, message uint16, content []byte) []byte {
	b := []byte{handshake, 0xfe, 0xff}
	b = binary.BigEndian.AppendUint64(b, sequence&maxSequence)
	b = binary.BigEndian.AppendUint16(b, uint16(handshakeHeader+len(content)))
	length := []byte{byte(len(content) >> 16), byte(len(content) >> 8), byte(len(content))}
	b = append(append(b, kind), length...)
	b = binary.BigEndian.AppendUint16(b, message)
	b = append(append(b, 0, 0, 0), length...)
	return append(b, content...)
}

const (
	// cookieLength is that of pion's cookies, which ours stand for.
	cookieLength = 20
	// cookieTime: a cookie is good for as long, and for twice as long at most.
	cookieTime = time.Minute
)

// cookies shows whether a peer gets what is sent to its address, without keeping
// anything of it: a cookie is a MAC over the address and what the peer offers,
// under a key that changes with time.
type cookies struct {
	secret [32]byte
	begun  time.Time
}

func newCookies() cookies {
	c := cookies{begun: time.Now()}
	_, _ = rand.Read(c.secret[:]) // never fails
	return c
}

// of gives the cookie of the period so many before the present one.
func (c *cookies) of(from netip.AddrPort, h hello, ago int64) []byte {
	period := int64(time.Since(c.begun)/cookieTime) - ago
	mac := hmac.New(sha256.New, c.secret[:])
	address := from.String()
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(period)))
	mac.Write(append([]byte{byte(len(address))}, address...))
	mac.Write(h.before)
	mac.Write(h.offered)
	return mac.Sum(nil)[:cookieLength]
}

func (c *cookies) valid(from netip.AddrPort, h hello) bool {
	return hmac.Equal(h.cookie, c.of(from, h, 0)) || hmac.Equal(h.cookie, c.of(from, h, 1))
}

// request asks the peer to say hello again, with the cookie. It is shorter than what
// it answers, so nobody is flooded by way of this server.
func (c *cookies) request(from netip.AddrPort, h hello) []byte {
	content := append([]byte{0xfe, 0xff, cookieLength}, c.of(from, h, 0)...)
	return plainHandshake(h.sequence, helloVerifyRequest, 0, content)
}
