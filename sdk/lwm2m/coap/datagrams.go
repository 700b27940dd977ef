package coap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/pion/dtls/v3"
	dtlsnet "github.com/pion/dtls/v3/pkg/net"
)

// Datagrams is a server's socket for DTLS, TCP or TLS whose datagrams somebody else
// takes apart, such as a server of files, which keeps nothing of a request. A peer may
// have several sessions at once. Over TCP and TLS the frames come as datagrams too.
type Datagrams struct{ link *sessions }

// ListenDatagrams opens it on an address such as "coaps://0.0.0.0:5684", which needs
// [PSKs] or [Certificate], "coaps+tcp://0.0.0.0:5684", which needs [Certificate], or
// "coap+tcp://127.0.0.1:5683"; what is plaintext and not loopback needs [NoSec].
func ListenDatagrams(address string, options ...Option) (*Datagrams, error) {
	s := newSettings(options)
	s.several = true
	scheme, host, err := split(address, s)
	if err == nil && scheme == "coap" {
		err = errors.New("datagrams of UDP need no session")
	}
	var a *net.UDPAddr
	if err == nil {
		a, err = net.ResolveUDPAddr("udp", host)
	}
	var l *sessions
	switch {
	case err != nil:
	case scheme == "coaps":
		l, err = listenDTLS(unmap(a), s)
	case scheme == "coap+tcp" && !a.IP.IsLoopback() && !s.insecure:
		err = errNoSec
	default:
		l, err = listenTCP(unmap(a), s, scheme == "coaps+tcp")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen for CoAP on %q: %w", address, err)
	}
	return &Datagrams{l}, nil
}

// Addr is the socket's address.
func (d *Datagrams) Addr() net.Addr { return d.link.addr() }

// Close ends all sessions, and Serve.
func (d *Datagrams) Close() error { return d.link.close() }

// Serve has each datagram answered, by so many goroutines, until ctx ends (nil) or
// the socket is closed. An empty answer is not sent.
func (d *Datagrams) Serve(ctx context.Context, workers int, answer func(from netip.Addr, datagram []byte) []byte) error {
	arrived := make(chan arrival)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for a := range arrived {
				where, _, _ := strings.Cut(a.from.peer, "#")
				from, _ := netip.ParseAddrPort(where)
				if b := d.answer(from.Addr(), a.message, answer); len(b) > 0 {
					_ = d.link.send(a.from.peer, b) // a datagram may get lost
				}
			}
		})
	}
	defer running.Wait()
	defer close(arrived)
	return d.link.receive(ctx, func(from origin, b []byte) { arrived <- arrival{from: from, message: bytes.Clone(b)} }, func(string) {})
}

// answer has a message be answered, as a datagram.
func (d *Datagrams) answer(from netip.Addr, message []byte, answer func(netip.Addr, []byte) []byte) []byte {
	if !d.link.framed() {
		return answer(from, message)
	}
	datagram, err := datagramOf(message)
	if err != nil {
		return nil
	}
	frame, err := frameOf(answer(from, datagram))
	if err != nil {
		return nil
	}
	return frame
}

// Secure makes a session of DTLS over conn, a connected socket to the server of this
// name, with [PSK] or [Certificate]; of TLS if that is TCP, with [Certificate]. What is
// written is a datagram each, and so is what is read, as with [Framed]. Closing it
// closes conn, as an error does.
func Secure(ctx context.Context, conn net.Conn, host string, options ...Option) (net.Conn, error) {
	s := newSettings(options)
	if conn.RemoteAddr().Network() == "tcp" {
		return s.credentials.secureStream(ctx, conn, host)
	}
	config, err := s.credentials.client(host)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	under := &dialed{PacketConn: dtlsnet.PacketConnFromConn(conn)}
	secure, err := dtls.ClientWithOptions(under, conn.RemoteAddr(), config...)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = secure.Close()
		return nil, fmt.Errorf("cannot make a session with %s: %w: nobody answers there, or the server does not know this key", host, err)
	}
	under.settle()
	return secure, nil
}
