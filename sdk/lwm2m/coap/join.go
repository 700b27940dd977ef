package coap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// Join makes one transport of several, each of another scheme, for a server that
// devices reach in several ways. Its peers begin with the scheme, as in
// "coaps+tcp://192.0.2.1:40000#7". Close closes all of them.
func Join(conns ...*Conn) (lwm2m.Transport, error) {
	j := joint{}
	for _, c := range conns {
		if j[c.scheme()] != nil {
			return nil, fmt.Errorf("cannot join two transports of the scheme %s", c.scheme())
		}
		j[c.scheme()] = c
	}
	return j, nil
}

func (c *Conn) scheme() string {
	l, ok := c.link.(*sessions)
	if !ok {
		return "coap"
	}
	if t, ok := l.carrier.(tcpSessions); ok {
		return t.scheme()
	}
	return "coaps"
}

// joint has the transports by scheme.
type joint map[string]*Conn

const schemeEnd = "://"

// Resolve implements [lwm2m.Transport] for scheme://host[:port].
func (j joint) Resolve(ctx context.Context, address string) (string, error) {
	scheme, _, _ := strings.Cut(address, schemeEnd)
	c := j[scheme]
	if c == nil {
		return "", fmt.Errorf("there is no socket for %q", address)
	}
	peer, err := c.Resolve(ctx, address)
	return scheme + schemeEnd + peer, err
}

// Exchange implements [lwm2m.Transport].
func (j joint) Exchange(ctx context.Context, peer string, request *lwm2m.Message) (*lwm2m.Message, error) {
	c, peer, err := j.behind(peer)
	if err != nil {
		return nil, err
	}
	return c.Exchange(ctx, peer, request)
}

// Notify implements [lwm2m.Transport].
func (j joint) Notify(ctx context.Context, peer string, notification *lwm2m.Message) error {
	c, peer, err := j.behind(peer)
	if err != nil {
		return err
	}
	return c.Notify(ctx, peer, notification)
}

// Connected implements [lwm2m.Waker].
func (j joint) Connected(peer string) bool {
	c, peer, err := j.behind(peer)
	return err == nil && c.Connected(peer)
}

// Wake implements [lwm2m.Waker].
func (j joint) Wake(peer string) {
	if c, peer, err := j.behind(peer); err == nil {
		c.Wake(peer)
	}
}

// behind is the transport of a peer, and what that calls it.
func (j joint) behind(peer string) (*Conn, string, error) {
	scheme, name, _ := strings.Cut(peer, schemeEnd)
	if c := j[scheme]; c != nil {
		return c, name, nil
	}
	return nil, "", fmt.Errorf("%w: there is no socket for %q", errNoPeer, peer)
}

// Serve implements [lwm2m.Transport]. Whichever transport ends first ends all.
func (j joint) Serve(ctx context.Context, h lwm2m.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	errs := make(chan error, len(j))
	for scheme, c := range j {
		running.Go(func() {
			defer cancel()
			errs <- c.Serve(ctx, named{h, scheme + schemeEnd})
		})
	}
	running.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// Close implements [lwm2m.Transport].
func (j joint) Close() error {
	var errs []error
	for _, c := range j {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// named is a handler for the peers of one scheme.
type named struct {
	lwm2m.Handler
	scheme string
}

// ServeRequest implements [lwm2m.Handler].
func (n named) ServeRequest(ctx context.Context, peer string, m *lwm2m.Message) *lwm2m.Message {
	return n.Handler.ServeRequest(ctx, n.scheme+peer, m)
}

// ServeNotification implements [lwm2m.Handler].
func (n named) ServeNotification(peer string, m *lwm2m.Message, done func(lwm2m.Reception)) {
	n.Handler.ServeNotification(n.scheme+peer, m, done)
}

// PeerGone implements [lwm2m.PeerWatcher].
func (n named) PeerGone(peer string) {
	if w, ok := n.Handler.(lwm2m.PeerWatcher); ok {
		w.PeerGone(n.scheme + peer)
	}
}
