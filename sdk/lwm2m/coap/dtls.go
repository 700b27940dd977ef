package coap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
)

const (
	// handshakeTimeout bounds a handshake.
	handshakeTimeout = 30 * time.Second
	// maxHandshakes bounds those that a server has under way; others wait.
	maxHandshakes = 256
	// idleSession is how long a server keeps a session from which nothing comes: a
	// little longer than the default lifetime of a registration.
	idleSession = 26 * time.Hour
	// maxWaiting bounds the datagrams that were received and not yet handled; UDP's
	// own buffer bounds those before.
	maxWaiting = 256
)

// dtlsLink is a link whose peers are DTLS sessions: a device that makes a new
// session is a new peer. With connection ids (RFC 9146), which are used if both
// ends know them, a session outlives a change of the device's address.
type dtlsLink struct {
	settings
	listener net.Listener // nil in a device
	arrived  chan arrival
	closed   chan struct{}
	stop     func() error
	workers  sync.WaitGroup

	mu       sync.Mutex
	serial   uint64
	sessions map[string]*session // by peer
	byName   map[string]*session // by proven identity
}

type arrival struct {
	from     origin
	datagram []byte
}

type session struct {
	origin
	conn *dtls.Conn
	idle *time.Timer
}

func newDTLSLink(s settings) *dtlsLink {
	l := &dtlsLink{
		settings: s, arrived: make(chan arrival, maxWaiting), closed: make(chan struct{}),
		sessions: map[string]*session{}, byName: map[string]*session{},
	}
	l.stop = sync.OnceValue(l.shut)
	return l
}

func listenDTLS(local netip.AddrPort, s settings) (*dtlsLink, error) {
	config, err := s.credentials.server()
	if err != nil {
		return nil, err
	}
	l := newDTLSLink(s)
	if l.listener, err = dtls.ListenWithOptions("udp", net.UDPAddrFromAddrPort(local), config...); err != nil {
		return nil, err
	}
	l.workers.Go(l.accept)
	return l, nil
}

func (l *dtlsLink) addr() net.Addr {
	if l.listener != nil {
		return l.listener.Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sessions {
		return s.conn.LocalAddr()
	}
	return &net.UDPAddr{}
}

func (l *dtlsLink) close() error { return l.stop() }

func (l *dtlsLink) shut() error {
	l.mu.Lock()
	close(l.closed)
	open := make([]*session, 0, len(l.sessions))
	for _, s := range l.sessions {
		open = append(open, s)
	}
	l.mu.Unlock()
	for _, s := range open {
		_ = s.conn.Close()
	}
	var err error
	if l.listener != nil {
		err = l.listener.Close()
	}
	l.workers.Wait()
	return err
}

// accept takes new peers; each shakes hands in a goroutine of its own.
func (l *dtlsLink) accept() {
	slots := make(chan struct{}, maxHandshakes)
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
			l.logger.Warn("cannot accept a DTLS session", "error", err)
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-l.closed:
			_ = conn.Close()
			return
		}
		l.workers.Go(func() {
			s := l.greet(conn.(*dtls.Conn))
			<-slots
			if s != nil {
				l.read(s)
			}
		})
	}
}

func (l *dtlsLink) greet(conn *dtls.Conn) *session {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	defer l.endsWith(cancel)()
	err := conn.HandshakeContext(ctx)
	var s *session
	if err == nil {
		s, err = l.enter(conn)
	}
	if err != nil {
		l.logger.Info("a DTLS handshake failed", "peer", conn.RemoteAddr().String(), "error", err)
		_ = conn.Close()
	}
	return s
}

// endsWith calls cancel when the link is closed; the function that it gives ends
// that.
func (l *dtlsLink) endsWith(cancel func()) (stop func()) {
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

// enter makes a session of a connection whose handshake is done. It replaces a
// former session of the same identity: that is the same device, started anew.
func (l *dtlsLink) enter(conn *dtls.Conn) (*session, error) {
	s := &session{conn: conn}
	if l.listener != nil { // a device has one session, whatever its server is called
		identity, err := identityOf(conn)
		if err == nil && identity == "" { // that would look like a peer without security
			err = errors.New("the peer has a certificate without a common name")
		}
		if err != nil {
			return nil, err
		}
		s.identity = identity
	}
	l.mu.Lock()
	select {
	case <-l.closed:
		l.mu.Unlock()
		return nil, net.ErrClosed
	default:
	}
	l.serial++
	s.peer = conn.RemoteAddr().String() + "#" + strconv.FormatUint(l.serial, 10)
	s.idle = time.AfterFunc(idleSession, func() { _ = conn.Close() })
	former := l.byName[s.identity]
	l.sessions[s.peer], l.byName[s.identity] = s, s
	l.mu.Unlock()
	if former != nil {
		_ = former.conn.Close()
	}
	return s, nil
}

// identityOf is the PSK identity, or the common name of the certificate (OMA
// LwM2M 1.1, transport bindings, section 5.2).
func identityOf(conn *dtls.Conn) (string, error) {
	state, ok := conn.ConnectionState()
	if !ok {
		return "", errors.New("the session has no state")
	}
	if len(state.PeerCertificates) == 0 {
		return string(state.IdentityHint), nil
	}
	leaf, err := x509.ParseCertificate(state.PeerCertificates[0])
	if err != nil {
		return "", err
	}
	return leaf.Subject.CommonName, nil
}

// read passes on what comes over a session until it ends.
func (l *dtlsLink) read(s *session) {
	defer l.leave(s)
	buffer := make([]byte, maxDatagram)
	for {
		n, err := s.conn.Read(buffer)
		if err != nil {
			l.logger.Debug("a DTLS session ended", "peer", s.peer, "error", err)
			return
		}
		s.idle.Reset(idleSession)
		select {
		case l.arrived <- arrival{s.origin, clone(buffer[:n])}:
		case <-l.closed:
			return
		}
	}
}

func (l *dtlsLink) leave(s *session) {
	s.idle.Stop()
	_ = s.conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sessions, s.peer)
	if l.byName[s.identity] == s {
		delete(l.byName, s.identity)
	}
}

func (l *dtlsLink) receive(ctx context.Context, f func(origin, []byte)) error {
	for {
		select {
		case a := <-l.arrived:
			f(a.from, a.datagram)
		case <-ctx.Done():
			return nil
		case <-l.closed:
			return net.ErrClosed
		}
	}
}

func (l *dtlsLink) send(peer string, datagram []byte) error {
	l.mu.Lock()
	s, ok := l.sessions[peer]
	l.mu.Unlock()
	if !ok {
		return errNoPeer
	}
	_, err := s.conn.Write(datagram)
	if errors.Is(err, dtls.ErrConnClosed) {
		return errNoPeer
	}
	return err
}

// resolve makes a new session with a server, so that a device which registers
// anew also recovers from a server that has lost the former one.
func (l *dtlsLink) resolve(ctx context.Context, address string) (string, error) {
	if l.listener != nil {
		return "", errors.New("a server does not call devices")
	}
	s, err := l.connect(ctx, address)
	if err != nil {
		return "", fmt.Errorf("cannot make a DTLS session with %q: %w", address, err)
	}
	return s.peer, nil
}

func (l *dtlsLink) connect(ctx context.Context, address string) (*session, error) {
	to, host, err := lookUp(ctx, address, "coaps")
	if err != nil {
		return nil, err
	}
	config, err := l.credentials.client(host)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	conn, err := dtls.ClientWithOptions(socket, net.UDPAddrFromAddrPort(to), config...)
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	defer l.endsWith(cancel)()
	var s *session
	if err = conn.HandshakeContext(ctx); err == nil {
		s, err = l.enter(conn)
	}
	if err != nil {
		_ = conn.Close()
		_ = socket.Close()
		return nil, err
	}
	l.workers.Go(func() {
		l.read(s)
		_ = socket.Close()
	})
	return s, nil
}

// isSecure tells whether an address asks for DTLS; one without a scheme does if
// there are credentials.
func isSecure(address string, s settings) bool {
	if strings.Contains(address, "://") {
		return strings.HasPrefix(address, "coaps://")
	}
	return s.credentials.given()
}
