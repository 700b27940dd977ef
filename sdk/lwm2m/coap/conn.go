package coap

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// maxHandlers bounds the requests served at once; what is above is dropped, and
// comes again.
const maxHandlers = 1024

// Conn is an [lwm2m.Transport] on one socket.
type Conn struct {
	settings
	link     link
	sessions *sessions // over TCP and TLS the link, else nil
	peers    *peers
	seen     *duplicates
	uploads  *uploads
	streams  streams
	handlers chan struct{}
	closed   chan struct{}
	close    func() error

	mu      sync.Mutex
	pending map[exchangeID]confirmable  // without an answer
	tokens  map[exchangeToken]*exchange // requests without a response
}

// exchangeID is what RFC 7252 section 4.4 makes unique: a message id of a peer.
type exchangeID struct {
	peer string
	mid  uint16
}

// exchangeToken is what a response belongs to: the token of a request, and whoever was
// asked (RFC 7252 section 5.3.2).
type exchangeToken struct{ peer, token string }

// confirmable is a message that is to be acknowledged.
type confirmable struct {
	token  string
	answer chan message.Message
}

// takes tells whether an acknowledgement can be its own: a response in it has the token
// as well (RFC 7252 section 5.3.2), which strangers do not know.
func (c confirmable) takes(m message.Message) bool {
	return m.Type == message.Reset || m.Code == codes.Empty || string(m.Token) == c.token && !lwm2m.Code(m.Code).IsRequest()
}

type exchange struct {
	id       exchangeID
	response chan message.Message
}

func newConn(l link, s settings) *Conn {
	lifetime := s.transmission.ExchangeLifetime()
	c := &Conn{
		settings: s,
		link:     l,
		peers:    newPeers(lifetime),
		seen:     newDuplicates(lifetime),
		uploads:  newUploads(lifetime),
		handlers: make(chan struct{}, maxHandlers),
		closed:   make(chan struct{}),
		streams:  streams{m: map[uploadID]*stream{}},
		pending:  map[exchangeID]confirmable{},
		tokens:   map[exchangeToken]*exchange{},
	}
	if framed, ok := l.(*sessions); ok && framed.framed() {
		c.sessions = framed
	}
	c.close = sync.OnceValue(func() error {
		close(c.closed)
		return l.close()
	})
	return c
}

// LocalAddr is the socket's address; in a device with DTLS that of its session.
func (c *Conn) LocalAddr() net.Addr { return c.link.addr() }

// Close implements [lwm2m.Transport].
func (c *Conn) Close() error { return c.close() }

// Serve implements [lwm2m.Transport]. It returns when every handler has.
func (c *Conn) Serve(ctx context.Context, h lwm2m.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer c.endStreams()
	defer running.Wait()
	defer cancel()
	receive := c.receive
	if c.sessions != nil {
		receive = c.receiveFrame
	}
	gone := func(string) {}
	if w, ok := h.(lwm2m.PeerWatcher); ok {
		gone = w.PeerGone
	}
	if l, ok := c.link.(*sessions); ok {
		if d, ok := h.(lwm2m.PeerDoubter); ok {
			l.doubted = d.PeerDoubted
		}
	}
	err := c.link.receive(ctx, func(from origin, b []byte) { receive(ctx, &running, h, from, b) }, gone)
	if err != nil {
		return fmt.Errorf("cannot serve CoAP: %w", err)
	}
	return nil
}

// receive sorts a datagram: an answer on message level, a request, or a response.
func (c *Conn) receive(ctx context.Context, running *sync.WaitGroup, h lwm2m.Handler, from origin, b []byte) {
	m, err := unmarshal(b)
	if err != nil {
		c.logger.Debug("dropped a malformed datagram", "peer", from.peer, "error", err)
		c.rejectMalformed(from.peer, b)
		return
	}
	m.Token, m.Payload = clone(m.Token), clone(m.Payload)
	for i, o := range m.Options {
		m.Options[i].Value = clone(o.Value)
	}
	id := exchangeID{from.peer, uint16(m.MessageID)}
	switch {
	case m.Type == message.Acknowledgement || m.Type == message.Reset:
		c.settle(id, m)
	case m.Code == codes.Empty:
		c.send(from.peer, message.Message{Type: message.Reset, MessageID: m.MessageID}) // a ping
	case lwm2m.Code(m.Code).IsRequest():
		c.request(ctx, running, h, from, c.seen.identify(id, b), m)
	default:
		c.response(h, from, id, m)
	}
}

// rejectMalformed answers a confirmable message whose header at least is whole
// (RFC 7252 section 4.2).
func (c *Conn) rejectMalformed(from string, b []byte) {
	if len(b) >= 4 && b[0]>>4 == 1<<2|byte(message.Confirmable) {
		c.send(from, message.Message{Type: message.Reset, MessageID: int32(b[2])<<8 | int32(b[3])})
	}
}

// settle gives an ACK or a reset to whoever sent the confirmable message.
func (c *Conn) settle(id exchangeID, m message.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := c.pending[id]
	if !waiting.takes(m) {
		return
	}
	select {
	case waiting.answer <- m:
	default:
	}
}

// response takes a separate response or a notification.
func (c *Conn) response(h lwm2m.Handler, from origin, id exchangeID, m message.Message) {
	done := func(r lwm2m.Reception) {
		switch {
		case r == lwm2m.Refused:
			c.send(id.peer, message.Message{Type: message.Reset, MessageID: m.MessageID})
		case r == lwm2m.Accepted && m.Type == message.Confirmable:
			c.send(id.peer, message.Message{Type: message.Acknowledgement, MessageID: m.MessageID})
		}
	}
	switch {
	case c.deliver(id.peer, m):
		done(lwm2m.Accepted)
	case m.Options.HasOption(message.Observe):
		c.notification(h, from, m, done)
	default:
		done(lwm2m.Refused)
	}
}

func (c *Conn) notification(h lwm2m.Handler, from origin, m message.Message, done func(lwm2m.Reception)) {
	n, err := fromWire(m)
	if err != nil {
		done(lwm2m.Refused)
		return
	}
	b, _ := getBlock(m, message.Block2)
	n.Partial, n.Identity = b.more, from.identity
	h.ServeNotification(from.peer, n, done)
}

// deliver gives a separate response to its exchange; it acknowledges the request
// too, whose own ACK may be lost.
func (c *Conn) deliver(from string, m message.Message) bool {
	c.mu.Lock()
	e, ok := c.tokens[exchangeToken{from, string(m.Token)}]
	c.mu.Unlock()
	if !ok {
		return false
	}
	select {
	case e.response <- m:
	default:
	}
	c.settle(e.id, message.Message{Type: message.Acknowledgement})
	return true
}

// send writes one message; a failure counts as a loss.
func (c *Conn) send(to string, m message.Message) {
	bytesOf := marshal
	if c.sessions != nil {
		bytesOf = marshalFrame
	}
	b, err := bytesOf(m)
	if err != nil {
		c.logger.Error("cannot encode a message", "peer", to, "error", err)
		return
	}
	c.write(to, b)
}

func (c *Conn) write(to string, b []byte) {
	if err := c.link.send(to, b); err != nil {
		c.logger.Debug("cannot send a message", "peer", to, "error", err)
	}
}

// body is the longest payload that is sent to a peer in one message.
func (c *Conn) body(peer string) int {
	if c.sessions == nil {
		return maxBlock
	}
	s, err := c.sessions.session(peer)
	if err != nil {
		return maxBlock
	}
	return s.body()
}
