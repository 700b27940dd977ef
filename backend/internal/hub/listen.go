package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/places"
)

// What strangers can take of the hub.
const (
	// maxGreetings bounds the devices that are not let in yet: TLS and CONNECT. A
	// bridge that comes back connects many at once.
	maxGreetings  = 1024
	greetingShare = 3 * time.Second
	// maxClients bounds the connections of the back end, maxClientsEach those of one
	// network, but for loopback's.
	maxClients     = 4096
	maxClientsEach = 256
	// sendBuffer bounds what the kernel keeps for a peer that does not read, in bytes:
	// twice the largest section of a twin. Left alone it takes megabytes for each, and
	// notices late that nobody is there.
	sendBuffer = 64 << 10
)

// listen binds an address; with TLS, clients may or may not show certificates; wrap sees connections as they come.
func listen(cfg Config, address string, clients tls.ClientAuthType, wrap func(net.Listener) net.Listener) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	l = wrap(frugal{l})
	if cfg.TLS != nil {
		security := cfg.TLS.Clone()
		security.ClientAuth = clients
		return tls.NewListener(l, security), nil
	}
	if addr, ok := l.Addr().(*net.TCPAddr); (!ok || !addr.IP.IsLoopback()) && !cfg.InsecurePlaintext {
		l.Close()
		return nil, fmt.Errorf("%s is not loopback: it needs TLS, or plaintext has to be permitted", address)
	}
	return l, nil
}

// A frugal listener has the kernel keep little for a connection.
type frugal struct{ net.Listener }

func (f frugal) Accept() (net.Conn, error) {
	conn, err := f.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = errors.Join(err, tcp.SetWriteBuffer(sendBuffer))
	}
	return conn, err
}

// newCrowded bounds the connections of the back end.
func newCrowded(l net.Listener) net.Listener {
	return (&places.Crowd{Max: maxClients, Each: maxClientsEach}).Listen(l)
}

// leaving is the key of a request's context under which is how its connection leaves the crowd.
type leaving struct{}

func withLeaving(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if c, ok := conn.(*places.Guest); ok {
		return context.WithValue(ctx, leaving{}, c.Leave)
	}
	return ctx
}

func addressOf(conn net.Conn) netip.Addr {
	from, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	return from.Addr()
}
