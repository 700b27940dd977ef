package coap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/places"
)

const (
	// acceptPause is waited when no session can be accepted, as without file handles.
	acceptPause = 50 * time.Millisecond
	// idleSession is how long a server keeps a session from which nothing comes: a
	// little longer than the default lifetime of a registration.
	idleSession = 26 * time.Hour
	// idleDatagrams is the same of a server of single datagrams: those of its peers
	// come at once or not at all.
	idleDatagrams = 5 * time.Minute
	// maxWaiting bounds the datagrams that were received and not yet handled; UDP's
	// own buffer bounds those before.
	maxWaiting = 256
	// maxNameless bounds the sessions of peers that prove nothing, over plaintext TCP;
	// maxNamelessEach those of one network (see package places), but for loopback's.
	maxNameless     = 16_384
	maxNamelessEach = 64
	// maxHandshakes bounds the handshakes that a server has under way.
	maxHandshakes = 256
	// handshakeTimeout bounds a handshake while there is room: a device on a bad link
	// sends a message again after 1, 3, 7 and 15 seconds.
	handshakeTimeout = 30 * time.Second
	// handshakeShare is what a handshake has in any case, when others want its place:
	// enough for three losses in a row.
	handshakeShare = 8 * time.Second
	// maxOffered is how much of an unproven identity is logged, in bytes.
	maxOffered = 128
)

// sessions is a link whose peers are sessions: of DTLS, or connections of TCP and
// TLS. A device that makes a new session is a new peer.
type sessions struct {
	settings
	carrier  carrier
	listener net.Listener // nil in a device
	arrived  chan arrival
	doubts   chan string // peers that ask for another session
	doubted  func(peer string)
	closed   chan struct{}
	stop     func() error
	workers  sync.WaitGroup

	handshakes places.Places // of a server
	nobodies   places.Crowd  // the open sessions of peers that prove nothing

	mu     sync.Mutex
	serial uint64
	open   map[string]*session // by peer
	byName map[string]*session // by proven identity
}

// carrier is what the kinds of sessions differ in.
type carrier interface {
	// scheme is that of the URIs of servers.
	scheme() string
	// connect opens a connection to a server of this name, and does no more.
	connect(ctx context.Context, to netip.AddrPort, host string) (net.Conn, error)
	// greet shakes hands over a connection, of either side.
	greet(ctx context.Context, conn net.Conn) (*session, error)
	// read gives the next message.
	read(s *session) ([]byte, error)
	// write sends a message, or puts it behind others; it waits for nobody.
	write(s *session, message []byte) error
}

// arrival is a message, or the end of a session.
type arrival struct {
	from    origin
	message []byte
	ended   bool
}

type session struct {
	origin
	conn  net.Conn
	idle  *time.Timer
	ended chan struct{}

	counted netip.Addr // among the nobodies, if it is valid

	record []byte // of DTLS, for what is read

	// Of TCP and TLS: what is read, what is sent, how long a message the peer takes, and
	// how many of its requests are being served.
	frames  *bufio.Reader
	outbox  *outbox
	limit   atomic.Int64
	serving atomic.Int64
	notes   notes
}

func newSessions(c carrier, s settings) *sessions {
	l := &sessions{
		settings: s, carrier: c, arrived: make(chan arrival, maxWaiting), doubts: make(chan string, 1), doubted: func(string) {}, closed: make(chan struct{}),
		open: map[string]*session{}, byName: map[string]*session{}, serial: rand.Uint64N(1 << 62), // no later server gives a peer the same name
		handshakes: places.Places{Max: maxHandshakes, Share: handshakeShare}, nobodies: places.Crowd{Max: maxNameless, Each: maxNamelessEach},
	}
	l.stop = sync.OnceValue(l.shut)
	return l
}

// listen accepts sessions.
func (l *sessions) listen(on net.Listener) *sessions {
	l.listener = on
	l.workers.Go(l.accept)
	return l
}

func (l *sessions) addr() net.Addr {
	if l.listener != nil {
		return l.listener.Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.open {
		return s.conn.LocalAddr()
	}
	return &net.UDPAddr{}
}

func (l *sessions) close() error { return l.stop() }

func (l *sessions) shut() error {
	l.mu.Lock()
	close(l.closed)
	all := slices.Collect(maps.Values(l.open))
	l.mu.Unlock()
	for _, s := range all {
		l.workers.Go(func() {
			s.finish(codes.Release)
			_ = s.conn.Close()
		})
	}
	var err error
	if l.listener != nil {
		err = l.listener.Close()
	}
	l.workers.Wait()
	return err
}

// accept takes new peers; each shakes hands in a goroutine of its own.
func (l *sessions) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			select {
			case <-l.closed:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			l.logger.Warn("cannot accept a session", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-l.closed:
			}
			continue
		}
		g := l.place(conn)
		if g == nil {
			_ = conn.Close()
			continue
		}
		l.workers.Go(func() {
			if s := l.greet(conn, g); s != nil {
				l.read(s)
			}
		})
	}
}

// place gives a connection its place among the handshakes, if need be after a while.
// One of whoever has the most of them does not wait: others may stand behind it.
func (l *sessions) place(conn net.Conn) *places.Place {
	if c, ok := conn.(*secured); ok {
		return c.greeting
	}
	from, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	for {
		g, greedy := l.handshakes.Begin(from.Addr(), func() { _ = conn.Close() })
		if g != nil || greedy {
			return g
		}
		select {
		case <-time.After(acceptPause):
		case <-l.closed:
			return nil
		}
	}
}

var errGaveWay = errors.New("too many handshakes are under way, this one gave way to another")

// greet makes a session of a connection, or closes it. The log names who the peer
// said it is: the peer itself often hears nothing of what is wrong.
func (l *sessions) greet(conn net.Conn, g *places.Place) *session {
	s, err := l.handshake(context.Background(), conn)
	if err == nil {
		err = l.enter(s)
	}
	gaveWay := l.handshakes.End(g)
	if err == nil {
		return s
	}
	var offered string
	if c, ok := conn.(*secured); ok {
		offered = c.offered[:min(len(c.offered), maxOffered)]
	}
	switch {
	case gaveWay:
		err = errGaveWay
	case offered != "" && errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%w: the peer has another key for this identity, or messages get lost", err)
	}
	l.logger.Info("a handshake failed", "peer", conn.RemoteAddr().String(), "identity", offered, "error", err)
	return nil
}

// handshake makes a session of a connection, which is not known yet, or closes it.
func (l *sessions) handshake(ctx context.Context, conn net.Conn) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	defer l.endsWith(cancel)()
	s, err := l.carrier.greet(ctx, conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

// endsWith calls cancel when the link is closed; the function that it gives ends
// that.
func (l *sessions) endsWith(cancel func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-l.closed:
			cancel()
		case <-done:
		}
	}()
	return func() { close(done) }
}

// enter makes a session known. It replaces a former session of the same identity:
// that is the same device, started anew. A device has one session, whatever its
// server is called; peers of a server that have proven nothing are many.
func (l *sessions) enter(s *session) (err error) {
	defer func() {
		if err != nil {
			_ = s.conn.Close()
		}
	}()
	switch {
	case l.listener == nil:
		s.identity = ""
	case s.identity == "" && !l.nameless(): // that would look like a peer without security
		return errors.New("the peer has a certificate without a common name")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return net.ErrClosed
	default:
	}
	if err := l.admit(s); err != nil {
		return err
	}
	l.serial++
	s.peer = s.conn.RemoteAddr().String() + "#" + strconv.FormatUint(l.serial, 10)
	s.ended = make(chan struct{})
	s.idle = time.AfterFunc(l.idle(), func() { _ = s.conn.Close() })
	if l.framed() {
		s.outbox = newOutbox(s.conn)
		l.workers.Go(s.outbox.send)
	}
	l.open[s.peer] = s
	if l.listener != nil && (l.nameless() || l.several) {
		return nil
	}
	if former := l.byName[s.identity]; former != nil {
		delete(l.open, former.peer)
		l.workers.Go(func() { _ = former.conn.Close() })
	}
	l.byName[s.identity] = s
	return nil
}

// admit counts a session of a peer that proves nothing, if there is room for it.
// Nobody gives way: whoever is here may be a device that is needed.
func (l *sessions) admit(s *session) error {
	if l.listener == nil || !l.nameless() {
		return nil
	}
	from, _ := netip.ParseAddrPort(s.conn.RemoteAddr().String())
	if err := l.nobodies.Enter(from.Addr()); err != nil {
		return err
	}
	s.counted = from.Addr()
	return nil
}

// release gives back what admit has counted.
func (l *sessions) release(s *session) {
	if s.counted.IsValid() {
		l.nobodies.Leave(s.counted)
	}
}

func (l *sessions) idle() time.Duration {
	if l.several {
		return idleDatagrams
	}
	return idleSession
}

// read passes on what comes over a session until it ends.
func (l *sessions) read(s *session) {
	defer l.leave(s)
	for {
		m, err := l.carrier.read(s)
		if err != nil {
			l.logger.Debug("a session ended", "peer", s.peer, "error", err)
			return
		}
		s.idle.Reset(l.idle())
		if !l.pass(arrival{from: s.origin, message: m}) {
			return
		}
	}
}

func (l *sessions) pass(a arrival) bool {
	select {
	case l.arrived <- a:
		return true
	case <-l.closed:
		return false
	}
}

// leave forgets a session; whoever talks to the peer is told, unless it has a new
// one.
func (l *sessions) leave(s *session) {
	s.idle.Stop()
	close(s.ended)
	l.mu.Lock()
	current := l.open[s.peer] == s
	delete(l.open, s.peer)
	l.release(s)
	if l.byName[s.identity] == s {
		delete(l.byName, s.identity)
	}
	l.mu.Unlock()
	s.finish(codes.Empty)
	_ = s.conn.Close()
	if current {
		l.pass(arrival{from: s.origin, ended: true})
	}
}

func (l *sessions) receive(ctx context.Context, f func(origin, []byte), ended func(peer string)) error {
	for {
		select {
		case a := <-l.arrived:
			if a.ended {
				ended(a.from.peer)
				continue
			}
			f(a.from, a.message)
		case peer := <-l.doubts:
			l.doubted(peer)
		case <-ctx.Done():
			return nil
		case <-l.closed:
			return net.ErrClosed
		}
	}
}

// framed tells whether messages are those of RFC 8323.
func (l *sessions) framed() bool { _, ok := l.carrier.(tcpSessions); return ok }

// nameless tells whether peers prove nothing.
func (l *sessions) nameless() bool { c, ok := l.carrier.(tcpSessions); return ok && !c.secure }

func (l *sessions) session(peer string) (*session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.open[peer]
	if !ok {
		return nil, errNoPeer
	}
	return s, nil
}

func (l *sessions) send(peer string, message []byte) error {
	s, err := l.session(peer)
	if err != nil {
		return err
	}
	return l.carrier.write(s, message)
}

// resolve makes a new session with a server, so that a device which registers
// anew also recovers from a server that has lost the former one.
func (l *sessions) resolve(ctx context.Context, address string) (string, error) {
	if l.listener != nil {
		return "", errors.New("a server does not call devices")
	}
	all, host, err := lookUp(ctx, address, l.carrier.scheme())
	if err != nil {
		return "", fmt.Errorf("cannot connect to %q: %w", address, err)
	}
	s, err := l.reach(ctx, all, host)
	if err == nil {
		err = l.enter(s)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: nobody answers there, or the server has another key for this peer", err)
	}
	if err != nil {
		return "", fmt.Errorf("cannot make a session with %q: %w", address, err)
	}
	l.attend(s)
	l.workers.Go(func() { l.read(s) })
	return s.peer, nil
}

// headStart is how long an address of a server is tried alone: time to send a message
// of the handshake again.
const headStart = 3 * time.Second

// reach shakes hands with a server at whichever of its addresses answers first. The
// next one is tried when one has failed, or has had its head start: there may be IPv6
// that leads nowhere, say, and IPv4 that does.
func (l *sessions) reach(ctx context.Context, all []netip.AddrPort, host string) (*session, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type attempt struct {
		s   *session
		err error
	}
	ended, under := make(chan attempt), 0
	defer func() {
		cancel()
		for ; under > 0; under-- {
			if late := <-ended; late.err == nil {
				_ = late.s.conn.Close()
			}
		}
	}()
	var failed []error
	start := time.After(0)
	for rest := all; len(failed) < len(all); {
		select {
		case <-start:
			to := rest[0]
			if rest, start = rest[1:], nil; len(rest) > 0 {
				start = time.After(headStart)
			}
			under++
			go func() {
				s, err := l.call(ctx, to, host)
				ended <- attempt{s, err}
			}()
		case a := <-ended:
			under--
			if a.err == nil {
				return a.s, nil
			}
			if failed = append(failed, a.err); len(rest) > 0 {
				start = time.After(0)
			}
		}
	}
	return nil, errors.Join(failed...)
}

// call shakes hands with a server at one of its addresses.
func (l *sessions) call(ctx context.Context, to netip.AddrPort, host string) (*session, error) {
	conn, err := l.carrier.connect(ctx, to, host)
	if err != nil {
		return nil, err
	}
	return l.handshake(ctx, conn)
}

// attend passes on that the server asks for another handshake.
func (l *sessions) attend(s *session) {
	c, ok := s.conn.(*secured)
	if !ok {
		return
	}
	if under, ok := c.under.(*dialed); ok {
		under.asked.Store(new(func() {
			select {
			case l.doubts <- s.peer:
			default:
			}
		}))
	}
}

// Connected tells whether there is a way to a peer; see [lwm2m.Waker].
func (c *Conn) Connected(peer string) bool {
	l, ok := c.link.(*sessions)
	if !ok {
		return true
	}
	_, err := l.session(peer)
	return err == nil
}

// Wake tells a device that was here before this server was started that its session is
// lost (DTLS), so that it makes another one; see [lwm2m.Waker].
func (c *Conn) Wake(peer string) {
	l, ok := c.link.(*sessions)
	if !ok {
		return
	}
	address, _, _ := strings.Cut(peer, "#")
	to, err := netip.ParseAddrPort(address)
	if on, ok := l.listener.(*listener); ok && err == nil {
		on.wake(to)
	}
}
