package coap

import (
	"context"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// request starts the handler of a new request, or repeats the answer of a known
// one.
func (c *Conn) request(ctx context.Context, running *sync.WaitGroup, h lwm2m.Handler, from origin, id requestID, m message.Message) {
	if !c.takeHandler() {
		c.logger.Warn("dropped a request: too many are being served", "peer", id.peer)
		return
	}
	fresh, answer := c.seen.begin(id)
	if !fresh {
		<-c.handlers
		if answer != nil {
			c.write(id.peer, answer)
		}
		return
	}
	running.Go(func() {
		defer func() { <-c.handlers }()
		c.serve(ctx, h, from, id, m)
	})
}

// serve answers in the ACK or, if the handler takes its time, acknowledges and
// answers separately (RFC 7252 section 5.2).
func (c *Conn) serve(ctx context.Context, h lwm2m.Handler, from origin, id requestID, m message.Message) {
	done := make(chan message.Message, 1)
	go func() { done <- c.handle(ctx, h, from, m) }()
	timer := time.NewTimer(c.transmission.AckTimeout / 2)
	defer timer.Stop()
	select {
	case r := <-done:
		c.answer(id, m, r)
		return
	case <-timer.C:
	}
	if m.Type != message.Confirmable {
		c.answer(id, m, <-done)
		return
	}
	c.reply(id, message.Message{Type: message.Acknowledgement, MessageID: m.MessageID})
	r := <-done
	r.Token = m.Token
	if _, err := c.confirm(ctx, id.peer, r, nil); err != nil {
		c.logger.Debug("a separate response was not acknowledged", "peer", id.peer, "error", err)
	}
}

func (c *Conn) answer(id requestID, m, r message.Message) {
	r.Token = m.Token
	r.Type, r.MessageID = message.Acknowledgement, m.MessageID
	if m.Type != message.Confirmable {
		r.Type, r.MessageID = message.NonConfirmable, int32(c.peers.nextMID(id.peer))
	}
	c.reply(id, r)
}

// reply keeps the answer before it sends it: the peer may repeat the request
// the moment that it has the answer.
func (c *Conn) reply(id requestID, r message.Message) {
	b, err := marshal(r)
	if err != nil {
		c.logger.Error("cannot encode a response", "peer", id.peer, "error", err)
		return
	}
	c.seen.finish(id, b)
	c.write(id.peer, b)
}

// handle gives the response to a request, or to one block of it.
func (c *Conn) handle(ctx context.Context, h lwm2m.Handler, from origin, m message.Message) message.Message {
	request, err := fromWire(m)
	if err != nil {
		return message.Message{Code: codes.BadOption, Payload: []byte(err.Error())}
	}
	request.Identity = from.identity
	if answer, bad := badBlock(m, c.sessions != nil); bad {
		return answer
	}
	if streamed, ok := c.stream(ctx, h, from.peer, m, request); ok {
		return streamed
	}
	if early, ok := c.uploads.add(from.peer, m, request); !ok {
		return early
	}
	response := h.ServeRequest(ctx, from.peer, request)
	return answerBlock(toWire(response), m, c.body(from.peer))
}
