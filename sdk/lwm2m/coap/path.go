package coap

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/tranquil-iot/tranquil/sdk/places"
)

const (
	// maxInbox bounds the datagrams that wait for one session.
	maxInbox = 64
	// maxHeldDatagrams bounds the bytes that wait for all sessions.
	maxHeldDatagrams = 1 << 24
	// maxUnproven bounds what a peer may send before it has proven who it is, in bytes:
	// room for long certificates, several times.
	maxUnproven = 1 << 16
	// maxRead is the longest datagram that pion takes.
	maxRead = 8192
)

type connectionID [connectionIDs]byte

// path is what lies under one session of a server: the datagrams from and to a peer
// that has shown that it gets what is sent to its address.
type path struct {
	listener *listener
	screen   screen
	from     netip.AddrPort // where it began
	random   [32]byte       // of the hello, by which that is known again
	cookie   []byte
	shift    uint64 // what pion's record numbers in plaintext lack
	greeting *places.Place
	conn     *dtls.Conn
	planted  bool // pion has our cookie
	answered bool // the hello

	// Guarded by the listener's lock.
	id     *connectionID // what it is found by, wherever the peer goes
	former *path         // the settled one that it takes the place of, in the end
	state  pathState

	mu      sync.Mutex
	arrived sync.Cond
	inbox   []datagram
	budget  int // bytes that it may get before it is settled
	peer    *net.UDPAddr
	last    []byte    // what we have sent last in the handshake
	next    time.Time // when it may be sent once more
	over    time.Time // and until when
	expired bool
	ended   bool
}

type pathState int

const (
	pathNew pathState = iota
	pathOpen
	pathClosed
)

type datagram struct {
	from  netip.AddrPort
	bytes []byte
}

// newPath is one for a hello whose cookie has been verified. pion wants to have sent
// that cookie itself: it gets the hello without one first. What it sends goes on
// counting where the peer's hello stood, since our request for the cookie had the
// number of the hello before (RFC 6347 section 4.2.1).
func newPath(l *listener, from netip.AddrPort, h hello) *path {
	p := &path{
		listener: l, from: from, budget: maxUnproven, peer: net.UDPAddrFromAddrPort(from),
		random: h.random, cookie: clone(h.cookie), shift: max(h.sequence, 1) - 1,
	}
	p.screen.ids = connectionIDs
	p.arrived.L = &p.mu
	p.put(datagram{from, h.datagram(p.shift, 0, nil)})
	p.again(h)
	return p
}

// take keeps what pion may see of a datagram.
func (p *path) take(from netip.AddrPort, b []byte) {
	p.repeat(b)
	if b = p.screen.pass(nil, b); len(b) > 0 && len(b) <= maxRead {
		p.put(datagram{from, b})
	}
}

// How often, and for how long after a handshake, its last flight is sent once more.
const (
	repeatPause = 500 * time.Millisecond
	repeatFor   = time.Minute
)

// repeat sends the last flight of the handshake to a peer that has not heard it: one
// that sends its own Finished once more (RFC 6347 section 4.2.4). pion does that itself
// for a Finished with another number. But its client gives each that has a connection
// id the number 0, and for its server the second is a replay.
func (p *path) repeat(b []byte) {
	if !p.screen.settled.Load() || !hasFinished(b) {
		return
	}
	p.mu.Lock()
	now, last, to := time.Now(), p.last, p.peer
	switch {
	case now.After(p.over):
		p.last, last = nil, nil
	case now.Before(p.next):
		last = nil
	default:
		p.next = now.Add(repeatPause)
	}
	p.mu.Unlock()
	if last != nil {
		_, _ = p.listener.socket.WriteTo(last, to)
	}
}

// hasFinished tells whether a datagram has the first encrypted record of a peer with a
// connection id.
func hasFinished(b []byte) bool {
	for r, rest, ok := cutRecord(b, connectionIDs); ok; r, rest, ok = cutRecord(rest, connectionIDs) {
		if r.kind == withConnectionID {
			return r.epoch == 1 && r.sequence == 0
		}
	}
	return false
}

// again takes the hello; when it has come before, pion repeats its answer.
func (p *path) again(h hello) {
	if !p.screen.settled.Load() {
		p.put(datagram{p.from, h.datagram(h.sequence, h.message, h.cookie)})
	}
}

func (p *path) put(d datagram) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.screen.settled.Load() {
		p.budget -= len(d.bytes)
	}
	if p.ended || p.budget < 0 || len(p.inbox) >= maxInbox {
		return // lost
	}
	if p.listener.held.Add(int64(len(d.bytes))) > maxHeldDatagrams {
		p.listener.held.Add(-int64(len(d.bytes)))
		return
	}
	p.inbox = append(p.inbox, d)
	p.arrived.Signal()
}

// ReadFrom implements [net.PacketConn].
func (p *path) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.inbox) == 0 || p.ended || p.expired {
		switch {
		case p.ended:
			return 0, nil, net.ErrClosed
		case p.expired:
			return 0, nil, os.ErrDeadlineExceeded
		}
		p.arrived.Wait()
	}
	d := p.inbox[0]
	if p.inbox = p.inbox[1:]; len(p.inbox) == 0 {
		p.inbox = nil
	}
	p.listener.held.Add(-int64(len(d.bytes)))
	if d.from != p.peer.AddrPort() {
		p.peer = net.UDPAddrFromAddrPort(d.from)
	}
	return copy(b, d.bytes), p.peer, nil
}

// WriteTo implements [net.PacketConn].
func (p *path) WriteTo(b []byte, to net.Addr) (int, error) {
	if !p.planted {
		return len(b), p.plant(b)
	}
	if !p.answered {
		p.answered = true
		p.listener.handshakes.Renew(p.greeting)
	}
	out := b
	if !p.screen.settled.Load() {
		out = renumber(b, p.shift)
		p.mu.Lock()
		p.last = clone(out)
		p.mu.Unlock()
	}
	if _, err := p.listener.socket.WriteTo(out, to); err != nil {
		return 0, err
	}
	return len(b), nil
}

// plant gives pion our cookie in place of its own random one, at the moment that
// it asks for it; the peer, who has answered already, hears nothing of that. This is
// in the goroutine which compares the two later.
func (p *path) plant(b []byte) error {
	r, _, ok := cutRecord(b, 0)
	if !ok || r.kind != handshake || r.body[0] != helloVerifyRequest {
		return nil // an alert: that was no hello
	}
	own := cookieOf(p.conn)
	if len(own) != cookieLength {
		return errPion
	}
	copy(own, p.cookie)
	p.planted = true
	return nil
}

var errPion = errors.New("this version of pion/dtls keeps its cookie elsewhere: tranquil must be built with the one in its go.mod")

// cookieOf is the cookie that a server's session expects.
func cookieOf(c *dtls.Conn) []byte {
	state := reflect.ValueOf(c).Elem().FieldByName("state")
	if !state.IsValid() || state.Kind() != reflect.Struct {
		return nil
	}
	cookie := state.FieldByName("cookie")
	if !cookie.IsValid() || cookie.Type() != reflect.TypeFor[[]byte]() {
		return nil
	}
	return cookie.Bytes()
}

// renumber adds to the sequence numbers of records in plaintext.
func renumber(b []byte, add uint64) []byte {
	out := clone(b)
	for r, rest, ok := cutRecord(out, 0); ok && r.epoch == 0; r, rest, ok = cutRecord(rest, 0) {
		binary.BigEndian.PutUint64(r.raw[3:], (r.sequence+add)&maxSequence)
	}
	return out
}

// settle ends the time of plaintext, and that of a former session.
func (p *path) settle() {
	p.screen.settled.Store(true)
	p.mu.Lock()
	p.budget, p.over = 0, time.Now().Add(repeatFor)
	p.mu.Unlock()
	p.listener.settled(p)
}

// Close implements [net.PacketConn].
func (p *path) Close() error {
	p.mu.Lock()
	ended := p.ended
	p.ended = true
	for _, d := range p.inbox {
		p.listener.held.Add(-int64(len(d.bytes)))
	}
	p.inbox = nil
	p.arrived.Broadcast()
	p.mu.Unlock()
	if !ended {
		p.listener.forget(p)
	}
	return nil
}

// LocalAddr implements [net.PacketConn].
func (p *path) LocalAddr() net.Addr { return p.listener.socket.LocalAddr() }

// SetDeadline implements [net.PacketConn].
func (p *path) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetWriteDeadline implements [net.PacketConn]; nothing waits to be written.
func (p *path) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline implements [net.PacketConn] for what pion does with it: it sets one
// that is over to end a read, and takes it away.
func (p *path) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expired = !t.IsZero() && !t.After(time.Now())
	p.arrived.Broadcast()
	return nil
}
