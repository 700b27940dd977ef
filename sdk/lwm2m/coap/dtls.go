package coap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/pion/dtls/v3"

	"github.com/tranquil-iot/tranquil/sdk/places"
)

// maxRecord is the longest message that is taken over DTLS. It is there for each
// session, so it is not more than what a network carries in one piece.
const maxRecord = 1 << 12

// dtlsSessions is the carrier of DTLS 1.2. With connection ids (RFC 9146), which are
// used if both ends know them, a session outlives a change of the device's address.
type dtlsSessions struct{ settings }

func listenDTLS(local netip.AddrPort, s settings) (*sessions, error) {
	l := newSessions(dtlsSessions{s}, s)
	listener, err := newListener(local, s, &l.handshakes)
	if err != nil {
		return nil, err
	}
	l.workers.Go(listener.read)
	return l.listen(listener), nil
}

// secured is a session of either side. It closes what is under it.
type secured struct {
	*dtls.Conn
	under interface{ settle() } // the handshake is over

	// Of a server: its place among the handshakes, and who the peer says it is.
	greeting *places.Place
	offered  string
}

// dialed is the socket of a device.
type dialed struct {
	net.PacketConn
	screen screen
	asked  atomic.Pointer[func()] // hears that the server, or somebody in its name, asks for another handshake
}

func (d *dialed) settle() { d.screen.settled.Store(true) }

// ReadFrom implements [net.PacketConn]. A socket that fails counts as closed.
func (d *dialed) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := d.PacketConn.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, nil, err
		}
		if err != nil {
			return 0, nil, fmt.Errorf("%w: %w", net.ErrClosed, err)
		}
		if isHelloRequest(b[:n]) { // pion must not take it for the first message of a handshake that is under way
			if asked := d.asked.Load(); asked != nil {
				(*asked)()
			}
			continue
		}
		if kept := d.screen.pass(b[:0], b[:n]); len(kept) > 0 {
			return len(kept), from, nil
		}
	}
}

func (dtlsSessions) scheme() string { return "coaps" }

func (c dtlsSessions) connect(_ context.Context, to netip.AddrPort, host string) (net.Conn, error) {
	config, err := c.credentials.client(host)
	if err != nil {
		return nil, err
	}
	socket, err := listenUDP(netip.AddrPort{})
	if err != nil {
		return nil, err
	}
	under := &dialed{PacketConn: socket}
	conn, err := dtls.ClientWithOptions(under, net.UDPAddrFromAddrPort(to), config...)
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	return &secured{Conn: conn, under: under}, nil
}

func (dtlsSessions) greet(ctx context.Context, conn net.Conn) (*session, error) {
	c := conn.(*secured)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	c.under.settle()
	identity, err := identityOf(c.Conn)
	return &session{origin: origin{identity: identity}, conn: conn}, err
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

func (dtlsSessions) read(s *session) ([]byte, error) {
	if s.record == nil {
		s.record = make([]byte, maxRecord)
	}
	for {
		n, err := s.conn.Read(s.record)
		switch {
		case err == nil:
			return clone(s.record[:n]), nil
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
			return nil, err
		} // else it is of one record, which is too long, say
	}
}

func (dtlsSessions) write(s *session, datagram []byte) error {
	_, err := s.conn.Write(datagram)
	if errors.Is(err, dtls.ErrConnClosed) {
		return errNoPeer
	}
	return err
}
