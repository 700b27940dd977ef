package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// A coapSource asks for blocks (RFC 7959) on a socket of its own. The reasons
// for not using go-coap's block-wise engine: it repeats no lost block but the
// first, keeps the body in memory, and cannot go on from an offset.
type coapSource struct {
	addr  string
	base  string // path before that of the resource
	stall time.Duration
	first time.Duration // for how long to wait for the first answer
}

func newCoAPSource(u *url.URL, stall time.Duration) *coapSource {
	port := u.Port()
	if port == "" {
		port = "5683"
	}
	return &coapSource{
		addr: net.JoinHostPort(u.Hostname(), port), base: strings.TrimSuffix(u.Path, "/"),
		stall: stall, first: ackTimeout,
	}
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
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", c.addr)
	if err != nil {
		return false, passing("%w", because(ctx, err))
	}
	defer conn.Close()
	interrupt := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer interrupt()
	t := newTransfer(conn, newPace(c.first), r, s, p)
	return t.run(ctx, m)
}

// run asks and listens until the resource is whole, or the leg is used up.
func (t *transfer) run(ctx context.Context, m *meter) (done bool, err error) {
	buf := make([]byte, 2048)
	for {
		if err := t.askMore(time.Now()); err != nil {
			return false, err
		}
		if len(t.asks) == 0 {
			return t.complete(), nil
		}
		t.conn.SetReadDeadline(t.earliest())
		if ctx.Err() != nil {
			return false, passing("%w", context.Cause(ctx))
		}
		n, err := t.conn.Read(buf)
		var timeout net.Error
		switch {
		case err == nil:
			before := t.sink.have
			err = t.handle(buf[:n], time.Now())
			m.add(int(t.sink.have - before))
		case errors.As(err, &timeout) && timeout.Timeout():
			err = t.expire(time.Now())
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
