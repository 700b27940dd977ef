package coap

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"

	"github.com/pion/dtls/v3"
)

// maxRecord is the longest message that is taken over DTLS. It is there for each
// session, so it is not more than what a network carries in one piece.
const maxRecord = 1 << 12

// dtlsSessions is the carrier of DTLS 1.2. With connection ids (RFC 9146), which are
// used if both ends know them, a session outlives a change of the device's address.
type dtlsSessions struct{ settings }

func listenDTLS(local netip.AddrPort, s settings) (*sessions, error) {
	config, err := s.credentials.server()
	if err != nil {
		return nil, err
	}
	listener, err := dtls.ListenWithOptions("udp", net.UDPAddrFromAddrPort(local), config...)
	if err != nil {
		return nil, err
	}
	return newSessions(dtlsSessions{s}, s).listen(listener), nil
}

// dialed closes the socket of a device with its session.
type dialed struct {
	*dtls.Conn
	socket *net.UDPConn
}

// Close implements [net.Conn].
func (d dialed) Close() error { return errors.Join(d.Conn.Close(), d.socket.Close()) }

func (c dtlsSessions) connect(ctx context.Context, address string) (net.Conn, error) {
	to, host, err := lookUp(ctx, address, "coaps")
	if err != nil {
		return nil, err
	}
	config, err := c.credentials.client(host)
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
	return dialed{conn, socket}, nil
}

func (dtlsSessions) greet(ctx context.Context, conn net.Conn) (*session, error) {
	c, ok := conn.(*dtls.Conn)
	if !ok {
		c = conn.(dialed).Conn
	}
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	identity, err := identityOf(c)
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
		if _, ok := errors.AsType[*dtls.TemporaryError](err); ok { // too long
			continue
		}
		return clone(s.record[:max(n, 0)]), err
	}
}

func (dtlsSessions) write(s *session, datagram []byte) error {
	_, err := s.conn.Write(datagram)
	if errors.Is(err, dtls.ErrConnClosed) {
		return errNoPeer
	}
	return err
}
