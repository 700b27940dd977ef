package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/fetch/congestion"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// ackTimeout is how long the first answer may take (RFC 7252 section 4.8).
const ackTimeout = 2 * time.Second

// remember is how long what is known of a path holds for the next transfer.
const remember = time.Minute

// A coapSource asks for blocks (RFC 7959) on a socket of its own. The reasons
// for not using go-coap's block-wise engine: it repeats no lost block but the
// first, keeps the body in memory, and cannot go on from an offset.
type coapSource struct {
	base  string // path before that of the resource
	whole bool   // over TCP, where nothing gets lost
	stall time.Duration
	first time.Duration // for how long to wait for the first answer
	dial  func(ctx context.Context) (net.Conn, error)

	mu  sync.Mutex
	way wayTo
}

// A wayTo is what is known of a server and of the path to it. It outlives
// transfers.
type wayTo struct {
	pace  congestion.Control
	order order
	echo  []byte
	since time.Time
}

func newCoAPSource(u *url.URL, cfg Config) *coapSource {
	scheme, stream := strings.CutSuffix(u.Scheme, "+tcp")
	network := "udp"
	if stream {
		network = "tcp"
	}
	port := cmp.Or(u.Port(), map[string]string{"coap": "5683", "coaps": "5684"}[scheme])
	dial := func(ctx context.Context) (net.Conn, error) {
		conn, err := cfg.Dial(ctx, network, net.JoinHostPort(u.Hostname(), port))
		switch {
		case err != nil:
			return nil, err
		case scheme == "coaps":
			return cfg.Secure(ctx, conn, u.Hostname())
		case stream:
			return coap.Framed(conn)
		}
		return conn, nil
	}
	return &coapSource{base: strings.TrimSuffix(u.Path, "/"), whole: stream, stall: cfg.Stall, first: ackTimeout, dial: dial}
}

func (c *coapSource) close() {}

// stream uses a new socket for each leg: message ids are 16 bits and must not
// come again on one socket while the server may remember them.
func (c *coapSource) stream(ctx context.Context, r resource, s *sink, p *pin) error {
	r.path = c.base + r.path
	for {
		switch done, err := c.leg(ctx, r, s, p); {
		case err != nil:
			return err
		case done:
			return s.is(s.have)
		}
	}
}

func (c *coapSource) leg(ctx context.Context, r resource, s *sink, p *pin) (done bool, err error) {
	ctx, m, stop := metered(ctx, c.stall)
	defer stop()
	conn, err := c.dial(ctx)
	if err != nil {
		return false, passing("%w", because(ctx, err))
	}
	defer conn.Close()
	interrupt := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer interrupt()
	write := func(datagram []byte) error {
		_, err := conn.Write(datagram)
		return err
	}
	t := newTransfer(write, c.known(), r, s, p)
	if c.whole {
		t.overStream()
	}
	defer c.learn(t)
	return t.run(ctx, conn, m)
}

// known is what is known of the way to the server, for another transfer.
func (c *coapSource) known() wayTo {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.way.since) > remember {
		return wayTo{pace: congestion.New(c.first), echo: c.way.echo}
	}
	return c.way
}

// learn takes over what a transfer has learnt.
func (c *coapSource) learn(t *transfer) {
	if t.heard.IsZero() {
		return
	}
	way := wayTo{pace: t.pace.Again(), echo: t.echo, since: t.heard}
	if t.order == anyOrder {
		way.order = anyOrder
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.way = way
}

// run asks and listens until the resource is whole, or the leg is used up.
func (t *transfer) run(ctx context.Context, conn net.Conn, m *meter) (done bool, err error) {
	buf := make([]byte, 2048)
	for {
		if err := t.askMore(time.Now()); err != nil {
			return false, err
		}
		if len(t.asks) == 0 {
			return t.complete(), nil
		}
		conn.SetReadDeadline(t.earliest())
		if ctx.Err() != nil {
			return false, passing("%w", context.Cause(ctx))
		}
		n, err := conn.Read(buf)
		var timeout net.Error
		switch {
		case err == nil:
			before := t.sink.have
			err = t.handle(buf[:n], time.Now())
			m.add(int(t.sink.have - before))
		case errors.As(err, &timeout) && timeout.Timeout():
			t.expire(time.Now())
			err = nil
		default: // an ICMP error: nobody listens there
			err = passing("%w", err)
		}
		if err != nil {
			return false, err
		}
	}
}

func describe(a answer) string {
	return fmt.Sprintf("%d.%02d %.100q", a.code>>5, a.code&31, a.payload)
}
