package coap

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/tcp/coder"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// Over TCP and TLS (RFC 8323) messages come whole, once and in order: they have no
// type and no id, and nothing is acknowledged or sent again.

// maxServing bounds the requests of one peer that are served at once, so that one
// peer leaves room for others.
const maxServing = 64

var errFrame = errors.New("the peer sends no CoAP")

// readFrame reads one message with its length in front, up to maxFrame.
func readFrame(r *bufio.Reader) ([]byte, error) {
	first, err := r.Peek(1)
	if err != nil {
		return nil, err
	}
	extra := [16]int{13: 1, 14: 2, 15: 4}[first[0]>>4]
	head, err := r.Peek(1 + extra)
	if err != nil {
		return nil, unfinished(err)
	}
	length := int64(head[0] >> 4)
	switch extra {
	case 1:
		length = int64(head[1]) + 13
	case 2:
		length = int64(binary.BigEndian.Uint16(head[1:])) + 269
	case 4:
		length = int64(binary.BigEndian.Uint32(head[1:])) + 65805
	}
	token := int64(head[0] & 0x0f)
	total := int64(len(head)) + 1 + token + length // the code stands before the token
	if token > message.MaxTokenSize || total > maxFrame {
		return nil, fmt.Errorf("%w: a message of %d bytes, with a token of %d", errFrame, total, token)
	}
	frame := make([]byte, total)
	_, err = io.ReadFull(r, frame)
	return frame, unfinished(err)
}

// unfinished tells the end of a message's middle from an end between messages.
func unfinished(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func marshalFrame(m message.Message) ([]byte, error)   { return encode(coder.DefaultCoder, m) }
func unmarshalFrame(b []byte) (message.Message, error) { return decode(coder.DefaultCoder, b) }

// receiveFrame sorts a message: a ping, a request, or a response.
func (c *Conn) receiveFrame(ctx context.Context, running *sync.WaitGroup, h lwm2m.Handler, from origin, frame []byte) {
	m, err := unmarshalFrame(frame)
	if err != nil {
		return // the link has looked at it
	}
	switch {
	case m.Code == codes.Ping:
		taken := c.notesOf(from.peer).all()
		c.serveFrame(running, from, m, func() message.Message {
			taken(ctx)
			return message.Message{Code: codes.Pong}
		})
	case lwm2m.Code(m.Code).IsRequest():
		c.serveFrame(running, from, m, func() message.Message { return c.handle(ctx, h, from, m) })
	case !c.deliver(from.peer, m) && m.Options.HasOption(message.Observe):
		c.notification(h, from, m, c.notesOf(from.peer).add())
	}
}

// serveFrame answers in a goroutine of its own, since that may take its time.
func (c *Conn) serveFrame(running *sync.WaitGroup, from origin, m message.Message, answer func() message.Message) {
	s, err := c.sessions.session(from.peer)
	if err != nil {
		return
	}
	if s.serving.Add(1) > maxServing || !c.takeHandler() {
		c.logger.Warn("closed a connection: too many requests are being served", "peer", from.peer)
		_ = s.conn.Close()
		return
	}
	running.Go(func() {
		defer func() { <-c.handlers; s.serving.Add(-1) }()
		r := answer()
		r.Token = m.Token
		c.send(from.peer, r)
	})
}

func (c *Conn) takeHandler() bool {
	select {
	case c.handlers <- struct{}{}:
		return true
	default:
		return false
	}
}

// ask sends a request, or a ping, and waits for its response.
func (c *Conn) ask(ctx context.Context, to string, m message.Message) (message.Message, error) {
	s, err := c.sessions.session(to)
	if err != nil {
		return message.Message{}, err
	}
	frame, err := marshalFrame(m)
	if err != nil {
		return message.Message{}, fmt.Errorf("cannot encode a message: %w", err)
	}
	e := &exchange{response: make(chan message.Message, 1)}
	c.expectResponse(to, m.Token, e)
	if err := c.sessions.send(to, frame); err != nil {
		return message.Message{}, err
	}
	select {
	case r := <-e.response:
		return r, nil
	case <-s.ended:
		return message.Message{}, errNoPeer
	case <-c.closed:
		return message.Message{}, net.ErrClosed
	case <-ctx.Done():
		return message.Message{}, context.Cause(ctx)
	}
}

// notifyFrame sends a notification and then a ping, which is answered when all
// notifications before it have been taken.
func (c *Conn) notifyFrame(ctx context.Context, to string, m message.Message) error {
	frame, err := marshalFrame(m)
	if err != nil {
		return fmt.Errorf("cannot encode a message: %w", err)
	}
	if err := c.sessions.send(to, frame); err != nil {
		return err
	}
	_, err = c.exchange(ctx, to, message.Message{Code: codes.Ping})
	return err
}
