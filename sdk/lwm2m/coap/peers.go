package coap

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// exchangeLifetime is how long a message id stays taken (RFC 7252 section 4.8.2).
const exchangeLifetime = 247 * time.Second

// peers hands out message ids and the right to send a confirmable message.
type peers struct {
	mu    sync.Mutex
	m     map[netip.AddrPort]*peer
	swept time.Time
}

type peer struct {
	slot  chan struct{} // holds one element while free
	mid   uint16
	users int
	used  time.Time
}

func newPeers() *peers { return &peers{m: map[netip.AddrPort]*peer{}, swept: time.Now()} }

// acquire waits until no confirmable message is under way to the peer.
func (p *peers) acquire(ctx context.Context, to netip.AddrPort) (mid uint16, release func(), err error) {
	q := p.join(to)
	select {
	case <-q.slot:
		return p.next(q), func() { q.slot <- struct{}{}; p.leave(q) }, nil
	case <-ctx.Done():
		p.leave(q)
		return 0, nil, context.Cause(ctx)
	}
}

// nextMID is a message id for a message that needs no acknowledgement.
func (p *peers) nextMID(to netip.AddrPort) uint16 {
	q := p.join(to)
	defer p.leave(q)
	return p.next(q)
}

func (p *peers) join(to netip.AddrPort) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	q, ok := p.m[to]
	if !ok {
		p.sweep()
		q = &peer{slot: make(chan struct{}, 1), mid: uint16(rand.Uint32())}
		q.slot <- struct{}{}
		p.m[to] = q
	}
	q.users++
	return q
}

func (p *peers) next(q *peer) uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	q.mid++
	q.used = time.Now()
	return q.mid
}

func (p *peers) leave(q *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q.users--
}

// sweep forgets the peers whose message ids may be used again.
func (p *peers) sweep() {
	now := time.Now()
	if now.Sub(p.swept) < exchangeLifetime {
		return
	}
	p.swept = now
	for a, q := range p.m {
		if q.users == 0 && now.Sub(q.used) > exchangeLifetime {
			delete(p.m, a)
		}
	}
}
