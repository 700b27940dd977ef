package coap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// receiveBuffer is asked for, so that many devices may come at once.
const receiveBuffer = 1 << 22

// maxDatagram is more than any UDP payload.
const maxDatagram = 1 << 16

// A link moves encoded messages between this endpoint and its peers.
type link interface {
	// receive gives what arrives to f, one at a time, until ctx or the link ends;
	// f does not keep the message. ended hears of peers that cannot be reached any
	// more. Nil means that ctx ended.
	receive(ctx context.Context, f func(from origin, message []byte), ended func(peer string)) error
	// send sends one message. errNoPeer means that there is no way to the peer.
	send(peer string, message []byte) error
	// resolve finds the peer behind an address.
	resolve(ctx context.Context, address string) (peer string, err error)
	addr() net.Addr
	close() error
}

// listenUDP opens a socket; the zero address is any.
func listenUDP(local netip.AddrPort) (*net.UDPConn, error) {
	address := ":0"
	if local.IsValid() {
		address = local.String()
	}
	config := net.ListenConfig{Control: InPieces}
	socket, err := config.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return nil, err
	}
	return socket.(*net.UDPConn), nil
}

// origin is where a datagram comes from. The identity is the one that the peer has
// proven, "" if it has proven none.
type origin struct{ peer, identity string }

var errNoPeer = lwm2m.ErrNoConnection

// udpLink is a link in plaintext; its peers are addresses.
type udpLink struct {
	settings
	socket *net.UDPConn
}

func newUDPLink(local netip.AddrPort, s settings) (*udpLink, error) {
	socket, err := listenUDP(local)
	if err != nil {
		return nil, err
	}
	_ = socket.SetReadBuffer(receiveBuffer) // the system may give less
	return &udpLink{s, socket}, nil
}

func (l *udpLink) addr() net.Addr { return l.socket.LocalAddr() }
func (l *udpLink) close() error   { return l.socket.Close() }

func (l *udpLink) receive(ctx context.Context, f func(origin, []byte), _ func(string)) error {
	if err := l.socket.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = l.socket.SetReadDeadline(time.Now()) })()
	buffer := make([]byte, maxDatagram)
	for {
		n, from, err := l.socket.ReadFromUDPAddrPort(buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return net.ErrClosed
		case err != nil:
			l.logger.Warn("cannot receive a datagram", "error", err)
			continue
		}
		f(origin{peer: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()).String()}, buffer[:n])
	}
}

func (l *udpLink) send(peer string, datagram []byte) error {
	to, err := netip.ParseAddrPort(peer)
	if err != nil {
		return fmt.Errorf("%w: %q is no address", errNoPeer, peer)
	}
	_, err = l.socket.WriteToUDPAddrPort(datagram, to)
	return err
}

func (l *udpLink) resolve(ctx context.Context, address string) (string, error) {
	to, err := resolve(ctx, address, "coap", l.settings)
	if err != nil {
		return "", err
	}
	return to.String(), nil
}
