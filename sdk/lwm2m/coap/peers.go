package coap

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// peers hands out message ids and the right to send a confirmable message.
type peers struct {
	lifetime time.Duration // EXCHANGE_LIFETIME

	mu    sync.Mutex
	m     map[string]*peer
	swept time.Time
}

type peer struct {
	slot  chan struct{} // holds one element while free
	mid   uint16
	users int
	used  time.Time
}

func newPeers(lifetime time.Duration) *peers {
	return &peers{lifetime: lifetime, m: map[string]*peer{}, swept: time.Now()}
}

// acquire waits until no confirmable message is under way to the peer.
func (p *peers) acquire(ctx context.Context, to string) (mid uint16, release func(), err error) {
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
func (p *peers) nextMID(to string) uint16 {
	q := p.join(to)
	defer p.leave(q)
	return p.next(q)
}

func (p *peers) join(to string) *peer {
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
	if now.Sub(p.swept) < p.lifetime {
		return
	}
	p.swept = now
	for a, q := range p.m {
		if q.users == 0 && now.Sub(q.used) > p.lifetime {
			delete(p.m, a)
		}
	}
}
