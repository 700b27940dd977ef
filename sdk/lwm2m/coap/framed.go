package coap

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/tcp/coder"
	udpcoder "github.com/plgd-dev/go-coap/v3/udp/coder"
)

// A framed connection has the frames of CoAP over TCP (RFC 8323) be datagrams
// (RFC 7252), so that who takes those apart needs to know nothing else. What a stream
// has no use for, message types and ids, is made up and left out.
type framed struct {
	net.Conn
	frames *bufio.Reader
	mid    atomic.Uint32
}

// Framed begins CoAP over a connection of TCP to a server. What is written is a
// datagram each, and so is what is read; after a deadline that has passed the
// connection is of no more use.
func Framed(conn net.Conn) (net.Conn, error) {
	frame, err := capabilities(baseFrame)
	if err == nil {
		_, err = conn.Write(frame)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("cannot begin CoAP over TCP: %w", err)
	}
	return &framed{Conn: conn, frames: bufio.NewReader(conn)}, nil
}

// secureStream is Secure over TCP.
func (c credentials) secureStream(ctx context.Context, conn net.Conn, host string) (net.Conn, error) {
	config, err := c.clientTLS(host)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("cannot make a session with %s: %w", host, err)
	}
	return Framed(secure)
}

func (f *framed) Write(datagram []byte) (int, error) {
	frame, err := frameOf(datagram)
	if err != nil || frame == nil {
		return len(datagram), err
	}
	if _, err := f.Conn.Write(frame); err != nil {
		return 0, err
	}
	return len(datagram), nil
}

func (f *framed) Read(b []byte) (int, error) {
	for {
		frame, err := readFrame(f.frames)
		if err != nil {
			return 0, err
		}
		m, err := unmarshalFrame(frame)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errFrame, err)
		}
		switch m.Code {
		case codes.CSM, codes.Pong, codes.Empty:
			continue
		case codes.Release, codes.Abort:
			return 0, net.ErrClosed
		case codes.Ping:
			if err := f.pong(m.Token); err != nil {
				return 0, err
			}
			continue
		}
		m.Type, m.MessageID = message.NonConfirmable, int32(f.mid.Add(1)&0xffff)
		return udpcoder.DefaultCoder.Encode(m, b)
	}
}

func (f *framed) pong(token message.Token) error {
	frame, err := marshalFrame(message.Message{Code: codes.Pong, Token: token})
	if err == nil {
		_, err = f.Conn.Write(frame)
	}
	return err
}

// frameOf is a datagram as a frame; nil if that has nothing to say over TCP.
func frameOf(datagram []byte) ([]byte, error) {
	m, err := decode(udpcoder.DefaultCoder, datagram)
	if err != nil || m.Code == codes.Empty {
		return nil, err
	}
	return encode(coder.DefaultCoder, m)
}

// datagramOf is a frame as a datagram, which is answered at once.
func datagramOf(frame []byte) ([]byte, error) {
	m, err := unmarshalFrame(frame)
	if err != nil {
		return nil, err
	}
	m.Type, m.MessageID = message.Confirmable, 0
	return encode(udpcoder.DefaultCoder, m)
}
