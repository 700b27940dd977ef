package coap

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	// maxFrame is the longest message over TCP and TLS that is taken.
	maxFrame = 1 << 16
	// baseFrame is what a peer takes that says nothing (RFC 8323 section 5.3.1).
	baseFrame = 1152
)

// tcpSessions is the carrier of CoAP over TCP and, with a configuration, over TLS
// (RFC 8323). Each side begins with its capabilities; a session is there when both
// are known.
type tcpSessions struct {
	settings
	secure bool
}

func listenTCP(local netip.AddrPort, s settings, secure bool) (*sessions, error) {
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(local))
	if err != nil {
		return nil, err
	}
	l := newSessions(tcpSessions{s, secure}, s)
	if !secure {
		return l.listen(listener), nil
	}
	config, err := s.credentials.serverTLS()
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	return l.listen(tls.NewListener(listener, config)), nil
}

func (c tcpSessions) scheme() string {
	if c.secure {
		return "coaps+tcp"
	}
	return "coap+tcp"
}

func (c tcpSessions) connect(ctx context.Context, to netip.AddrPort, host string) (net.Conn, error) {
	if !c.secure && !to.Addr().IsLoopback() && !c.insecure {
		return nil, errNoSec
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", to.String())
	if err != nil || !c.secure {
		return conn, err
	}
	config, err := c.credentials.clientTLS(host)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return tls.Client(conn, config), nil
}

func (c tcpSessions) greet(ctx context.Context, conn net.Conn) (*session, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	s := &session{conn: conn, frames: bufio.NewReader(conn)}
	s.limit.Store(baseFrame)
	if secured, ok := conn.(*tls.Conn); ok {
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		s.identity = secured.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if err := c.introduce(s); err != nil {
		return nil, fmt.Errorf("the peer does not say what it is capable of: %w", err)
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return s, nil
}

// capabilities are how a connection begins. Who takes long messages says with that also
// that it knows blocks of several times 1024 bytes (RFC 8323 section 5.3.2), which whoever
// takes datagrams does not.
func capabilities(longest uint32) ([]byte, error) {
	own := message.Message{Code: codes.CSM}
	own.Options = addUint(own.Options, message.TCPMaxMessageSize, longest)
	own.Options = own.Options.Add(message.Option{ID: message.TCPBlockWiseTransfer})
	return marshalFrame(own)
}

// introduce exchanges capabilities.
func (c tcpSessions) introduce(s *session) error {
	longest := uint32(maxFrame)
	if c.several {
		longest = baseFrame
	}
	frame, err := capabilities(longest)
	if err != nil {
		return err
	}
	if err := c.write(s, frame); err != nil {
		return err
	}
	first, err := readFrame(s.frames)
	if err != nil {
		return err
	}
	m, err := unmarshalFrame(first)
	if err == nil && m.Code != codes.CSM {
		err = fmt.Errorf("the first message is %v", m.Code)
	}
	if err == nil {
		err = s.settle(m)
	}
	if err != nil {
		c.abort(s)
	}
	return err
}

// settle takes the peer's capabilities.
func (s *session) settle(m message.Message) error {
	for _, o := range m.Options {
		switch {
		case o.ID == message.TCPMaxMessageSize:
			s.limit.Store(int64(min(number(o.Value), maxFrame)))
		case o.ID&1 == 1:
			return fmt.Errorf("%w: %v in its capabilities", errCriticalOption, uint16(o.ID))
		}
	}
	return nil
}

// body is the longest payload that the peer takes in one message, with room for
// options.
func (s *session) body() int { return max(maxBlock, int(s.limit.Load())-maxBlock) }

// read handles the messages about the connection; requests, responses and pings are
// for others.
func (c tcpSessions) read(s *session) ([]byte, error) {
	for {
		frame, err := readFrame(s.frames)
		if errors.Is(err, errFrame) {
			c.abort(s)
		}
		if err != nil {
			return nil, err
		}
		m, err := unmarshalFrame(frame)
		if err == nil && m.Code == codes.CSM {
			err = s.settle(m)
		}
		switch {
		case err != nil:
			c.abort(s)
			return nil, err
		case m.Code == codes.Release || m.Code == codes.Abort:
			return nil, io.EOF
		case m.Code == codes.CSM || m.Code == codes.Empty:
		default:
			return frame, nil
		}
	}
}

// abort tells the peer that the connection ends because of what it sent.
func (c tcpSessions) abort(s *session) {
	if frame, err := marshalFrame(message.Message{Code: codes.Abort}); err == nil {
		_ = c.write(s, frame)
	}
}

// write sends a message, once the peer's capabilities are known by way of its outbox.
func (tcpSessions) write(s *session, frame []byte) error {
	if s.outbox == nil {
		return writeFrame(s.conn, frame)
	}
	return s.outbox.put(frame)
}

// finish sends what waits, and perhaps that this side closes the connection.
func (s *session) finish(say codes.Code) {
	if s.outbox == nil {
		return
	}
	if frame, err := marshalFrame(message.Message{Code: say}); err == nil && say != codes.Empty {
		_ = s.outbox.put(frame)
	}
	s.outbox.end()
}
