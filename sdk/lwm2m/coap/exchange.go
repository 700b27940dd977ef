package coap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	rnd "math/rand/v2"
	"net"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// Exchange implements [lwm2m.Transport].
func (c *Conn) Exchange(ctx context.Context, peer string, request *lwm2m.Message) (*lwm2m.Message, error) {
	return c.exchangeBlocks(ctx, peer, request)
}

// Notify implements [lwm2m.Transport].
func (c *Conn) Notify(ctx context.Context, peer string, notification *lwm2m.Message) error {
	m := firstBlock(toWire(notification), c.body(peer))
	if c.sessions != nil {
		return c.notifyFrame(ctx, peer, m)
	}
	_, err := c.confirm(ctx, peer, m, nil)
	return err
}

// exchange sends one request and waits for its response.
func (c *Conn) exchange(ctx context.Context, to string, m message.Message) (message.Message, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.maxWait(), lwm2m.ErrTimeout)
	defer cancel()
	if m.Token == nil {
		m.Token = newToken()
	}
	defer c.forgetToken(to, m.Token)
	if c.sessions != nil {
		return c.ask(ctx, to, m)
	}
	e := &exchange{response: make(chan message.Message, 1)}
	ack, err := c.confirm(ctx, to, m, e)
	if err != nil || ack.Code != codes.Empty {
		return ack, err
	}
	select {
	case r := <-e.response:
		return r, nil
	case <-c.closed:
		return message.Message{}, net.ErrClosed
	case <-ctx.Done():
		return message.Message{}, context.Cause(ctx)
	}
}

func newToken() []byte {
	token := make([]byte, message.MaxTokenSize)
	_, _ = rand.Read(token) // never fails
	return token
}

// confirm sends a confirmable message until it is acknowledged. One is under way
// to a peer at a time (NSTART, RFC 7252 section 4.7). The ACK may carry a
// response. If e is given, it is registered for a separate response.
func (c *Conn) confirm(ctx context.Context, to string, m message.Message, e *exchange) (message.Message, error) {
	mid, release, err := c.peers.acquire(ctx, to)
	if err != nil {
		return message.Message{}, err
	}
	defer release()
	m.Type, m.MessageID = message.Confirmable, int32(mid)
	datagram, err := marshal(m)
	if err != nil {
		return message.Message{}, fmt.Errorf("cannot encode a message: %w", err)
	}
	id := exchangeID{to, mid}
	answer := c.expect(id, m.Token, e)
	defer c.forget(id)
	return c.transmit(ctx, to, datagram, answer)
}

// transmit repeats a datagram with exponential back-off (RFC 7252 section 4.2).
func (c *Conn) transmit(ctx context.Context, to string, datagram []byte, answer <-chan message.Message) (message.Message, error) {
	t := c.transmission
	timeout := time.Duration(float64(t.AckTimeout) * (1 + rnd.Float64()*(t.AckRandomFactor-1)))
	for range t.MaxRetransmit + 1 {
		if err := c.link.send(to, datagram); errors.Is(err, errNoPeer) {
			return message.Message{}, err
		} else if err != nil { // counts as a loss
			c.logger.Debug("cannot send a datagram", "peer", to, "error", err)
		}
		timer := time.NewTimer(timeout)
		select {
		case m := <-answer:
			timer.Stop()
			if m.Type == message.Reset {
				return m, lwm2m.ErrReset
			}
			return m, nil
		case <-c.closed:
			timer.Stop()
			return message.Message{}, net.ErrClosed
		case <-ctx.Done():
			timer.Stop()
			return message.Message{}, context.Cause(ctx)
		case <-timer.C:
			timeout *= 2
		}
	}
	return message.Message{}, lwm2m.ErrTimeout
}

func (c *Conn) expect(id exchangeID, token []byte, e *exchange) <-chan message.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := make(chan message.Message, 1)
	c.pending[id] = confirmable{string(token), answer}
	if e != nil {
		e.id = id
		c.tokens[exchangeToken{id.peer, string(token)}] = e
	}
	return answer
}

func (c *Conn) expectResponse(peer string, token []byte, e *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens[exchangeToken{peer, string(token)}] = e
}

func (c *Conn) forget(id exchangeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

func (c *Conn) forgetToken(peer string, token []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tokens, exchangeToken{peer, string(token)})
}

// maxWait is MAX_TRANSMIT_WAIT (RFC 7252 section 4.8.2), the longest time from
// the first transmission until the sender gives up, and as long again for a
// separate response.
func (c *Conn) maxWait() time.Duration { return 2 * c.transmission.MaxTransmitWait() }
