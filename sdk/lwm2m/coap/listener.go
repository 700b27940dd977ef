package coap

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/tranquil-iot/tranquil/sdk/places"
)

// listener is a server's socket for DTLS. It keeps nothing of a peer before the peer
// has shown, by a cookie, that it gets what is sent to its address; pion, which
// keeps a session for every hello, hears of no other.
type listener struct {
	settings
	socket     *net.UDPConn
	handshakes *places.Places
	cookies    cookies
	waiting    waiting
	ready      chan *secured
	closed     chan struct{}
	held       atomic.Int64 // bytes in the inboxes of paths
	doubted    atomic.Int64 // when somebody was last in doubt, Unix nanoseconds

	mu        sync.Mutex
	closing   bool
	paths     int // that are open; the last one closes the socket
	byAddress map[netip.AddrPort]*path
	byID      map[connectionID]*path
}

func newListener(local netip.AddrPort, s settings, h *places.Places) (*listener, error) {
	socket, err := listenUDP(local)
	if err != nil {
		return nil, err
	}
	_ = socket.SetReadBuffer(receiveBuffer) // the system may give less
	l := &listener{
		settings: s, socket: socket, handshakes: h, cookies: newCookies(),
		ready: make(chan *secured, 2*maxHandshakes), closed: make(chan struct{}),
		byAddress: map[netip.AddrPort]*path{}, byID: map[connectionID]*path{},
	}
	p := newPath(l, local, hello{})
	defer p.Close()
	if _, err := l.secure(p); err != nil { // no credentials, say
		_ = socket.Close()
		return nil, err
	}
	h.Freed = l.next
	return l, nil
}

// read takes datagrams until the socket is closed.
func (l *listener) read() {
	buffer := make([]byte, maxDatagram)
	for {
		n, from, err := l.socket.ReadFromUDPAddrPort(buffer)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			l.logger.Warn("cannot receive a datagram", "error", err)
		default:
			l.arrive(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), buffer[:n])
		}
	}
}

func (l *listener) arrive(from netip.AddrPort, b []byte) {
	first, _, ok := cutRecord(b, connectionIDs)
	switch {
	case !ok:
	case isHello(first):
		l.hello(from, first)
	default:
		p, former := l.find(from, b)
		if p != nil {
			p.take(from, b)
		}
		if former != nil {
			former.take(from, b)
		}
		if p == nil && former == nil && first.epoch == 1 && first.kind != alert {
			l.doubt(from)
		}
	}
}

// meets tells whether there is a session with an address.
func (l *listener) meets(from netip.AddrPort) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byAddress[from] != nil
}

// doubtPause is the shortest time between two peers that are asked for another handshake,
// so that nobody can have others flooded.
const doubtPause = 5 * time.Millisecond

// doubt has a peer asked for another handshake that seems to have a session which is
// lost, if it does not begin one by itself.
func (l *listener) doubt(from netip.AddrPort) {
	now, last := time.Now().UnixNano(), l.doubted.Load()
	if time.Duration(now-last) >= doubtPause && l.doubted.CompareAndSwap(last, now) {
		time.AfterFunc(time.Second, func() { l.wake(from) })
	}
}

// wake tells a device that its session is lost, which it has to find out by itself. A
// device that knows nothing of this takes no notice, unless it is amidst a handshake:
// pion's would get no further.
func (l *listener) wake(to netip.AddrPort) {
	if !l.meets(to) {
		_, _ = l.socket.WriteToUDPAddrPort(helloRequest, to)
	}
}

// find gives the session of a connection id, else of the address. While one takes
// the place of another, only the right one can decrypt what comes: both get it.
func (l *listener) find(from netip.AddrPort, b []byte) (p, former *path) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r, rest, ok := cutRecord(b, connectionIDs); ok; r, rest, ok = cutRecord(rest, connectionIDs) {
		if r.kind == withConnectionID {
			return l.byID[connectionID(r.id)], nil
		}
	}
	if p = l.byAddress[from]; p != nil {
		former = p.former
	}
	return p, former
}

// hello answers the first hello of a handshake, of which nothing is kept, and begins
// a session for one with a cookie.
func (l *listener) hello(from netip.AddrPort, r record) {
	h, ok := parseHello(r)
	switch {
	case ok && h.message == 0:
		_, _ = l.socket.WriteToUDPAddrPort(l.cookies.request(from, h), from)
	case ok && h.message == 1 && l.cookies.valid(from, h):
		if there := l.known(from, h); there != nil {
			there.again(h)
			return
		}
		l.welcome(from, h)
	}
}

// known gives the session that has begun with this hello.
func (l *listener) known(from netip.AddrPort, h hello) *path {
	l.mu.Lock()
	defer l.mu.Unlock()
	if there := l.byAddress[from]; there != nil && there.random == h.random {
		return there
	}
	return nil
}

// next welcomes a peer that has waited for a place.
func (l *listener) next() {
	for from, b, ok := l.waiting.next(); ok; from, b, ok = l.waiting.next() {
		select {
		case <-l.closed:
			return
		default:
		}
		r, _, _ := cutRecord(b, 0)
		if h, _ := parseHello(r); l.known(from, h) == nil {
			l.welcome(from, h)
			return
		}
	}
}

// welcome begins a session, now or when there is a place.
func (l *listener) welcome(from netip.AddrPort, h hello) {
	p := newPath(l, from, h)
	p.greeting, _ = l.handshakes.Begin(from.Addr(), func() { _ = p.Close() })
	if p.greeting == nil {
		_ = p.Close()
		l.waiting.add(from, h.datagram(h.sequence, h.message, h.cookie))
		return
	}
	conn, err := l.secure(p)
	if err != nil {
		l.logger.Error("cannot begin a session", "error", err)
	}
	if err != nil || !l.enter(p, conn) {
		_ = p.Close()
		l.handshakes.End(p.greeting)
	}
}

// secure makes a session over a path. Its handshake has not begun.
func (l *listener) secure(p *path) (*secured, error) {
	s := &secured{under: p, greeting: p.greeting}
	config, err := l.credentials.server(func() []byte { return l.name(p) }, func(identity string) { s.offered = identity })
	if err != nil {
		return nil, err
	}
	s.Conn, err = dtls.ServerWithOptions(p, p.peer, config...)
	p.conn = s.Conn
	return s, err
}

// enter lets a path be found by its address, and be accepted. One there with a
// handshake under way is of a peer that has begun anew; a settled one stays until the
// new one is settled.
func (l *listener) enter(p *path, conn *secured) bool {
	l.mu.Lock()
	there := l.byAddress[p.from]
	known := there != nil && there.random == p.random
	if known || p.state != pathNew || l.closing || len(l.ready) == cap(l.ready) { // closed: it gave way already
		l.mu.Unlock()
		return false
	}
	switch {
	case there != nil && !there.screen.settled.Load():
		p.former = there.former
	case there != nil && there.id == nil:
		p.former = there
		there = nil
	default: // it is found by its id
		there = nil
	}
	l.byAddress[p.from] = p
	p.state = pathOpen
	l.paths++
	l.ready <- conn // there is room, and nobody else fills it
	l.mu.Unlock()
	if there != nil {
		_ = there.Close()
	}
	return true
}

// name gives a path its connection id.
func (l *listener) name(p *path) []byte {
	id := connectionID(dtls.RandomCIDGenerator(connectionIDs)())
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.state == pathOpen {
		p.id = &id
		l.byID[id] = p
	}
	return id[:]
}

// settled ends the session that p has taken the place of.
func (l *listener) settled(p *path) {
	l.mu.Lock()
	former := p.former
	p.former = nil
	l.mu.Unlock()
	if former != nil {
		_ = former.Close()
	}
}

// forget lets a path be found no more. The last one closes the socket of a listener
// that is closed.
func (l *listener) forget(p *path) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := p.state
	p.state = pathClosed
	if was != pathOpen {
		return
	}
	if p.id != nil {
		delete(l.byID, *p.id)
	}
	there := l.byAddress[p.from]
	switch {
	case there == p && p.former != nil:
		l.byAddress[p.from] = p.former
	case there == p:
		delete(l.byAddress, p.from)
	case there != nil && there.former == p:
		there.former = nil
	}
	l.paths--
	if l.closing && l.paths == 0 {
		_ = l.socket.Close()
	}
}

// Accept implements [net.Listener]. What it gives is *secured, has its place among
// the handshakes, and shakes hands when it is told to.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.ready:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Addr implements [net.Listener].
func (l *listener) Addr() net.Addr { return l.socket.LocalAddr() }

// Close implements [net.Listener]. Sessions that were accepted stay.
func (l *listener) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return nil
	}
	l.closing = true
	close(l.closed)
	last := l.paths == 0
	l.mu.Unlock()
	if last {
		return l.socket.Close()
	}
	for {
		select {
		case conn := <-l.ready:
			_ = conn.Close()
		default:
			return nil
		}
	}
}
