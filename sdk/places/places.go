// Package places shares a bounded number of places among the networks that want
// them, so that nobody is kept out by who takes many.
package places

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Places are for those who have not proven yet who they are, such as connections
// that shake hands. When all are taken, the oldest of the network with the most
// gives way, or one that has had its time.
type Places struct {
	Max   int           // places
	Share time.Duration // that one has in any case, when others want its place
	Freed func()        // hears of a place that was given back; may be nil

	mu   sync.Mutex
	open []*Place // oldest first
}

// A Place is taken until [Places.End], or until it has to be given up.
type Place struct {
	network netip.Prefix
	begun   time.Time
	end     func()
	gaveWay bool // guarded by the lock of its Places
}

// NetworkOf is what counts as one peer: an IPv4 address, or the 64 bits of an IPv6
// address behind which somebody has as many addresses as they like.
func NetworkOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits)
	return p
}

// Begin takes a place; end is called if it has to give way. If there is none it is
// nil, and greedy tells whether the peer's own network has the most of them.
func (h *Places) Begin(from netip.Addr, end func()) (g *Place, greedy bool) {
	g = &Place{network: NetworkOf(from), begun: time.Now(), end: end}
	h.mu.Lock()
	var loser *Place
	if len(h.open) >= h.Max {
		if loser, greedy = h.loser(g); loser == nil {
			h.mu.Unlock()
			return nil, greedy
		}
		loser.gaveWay = true
		h.remove(loser)
	}
	h.open = append(h.open, g)
	h.mu.Unlock()
	if loser != nil {
		loser.end()
	}
	return g, false
}

// loser is what gives way to g, if one has to: its network has more than that of g
// even then, or it has had its time. The caller holds the lock.
func (h *Places) loser(g *Place) (loser *Place, greedy bool) {
	shares := map[netip.Prefix]int{}
	for _, o := range h.open {
		shares[o.network]++
	}
	for _, o := range h.open {
		if loser == nil || shares[o.network] > shares[loser.network] {
			loser = o
		}
	}
	if shares[loser.network] > shares[g.network]+1 || g.begun.Sub(loser.begun) > h.Share {
		return loser, false
	}
	return nil, shares[loser.network] == shares[g.network] && shares[g.network] > 1
}

// Renew begins the time of a place: what came before was up to this side.
func (h *Places) Renew(g *Place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g.begun = time.Now()
}

// End gives a place back. It tells whether it was lost before.
func (h *Places) End(g *Place) (gaveWay bool) {
	h.mu.Lock()
	h.remove(g)
	gaveWay = g.gaveWay
	h.mu.Unlock()
	if h.Freed != nil && !gaveWay {
		h.Freed()
	}
	return gaveWay
}

func (h *Places) remove(g *Place) {
	if i := slices.Index(h.open, g); i >= 0 {
		h.open = slices.Delete(h.open, i, i+1)
	}
}

// A Crowd bounds who is here for long, in all and of one network, but for
// loopback's. Nobody gives way.
type Crowd struct {
	Max, Each int

	mu   sync.Mutex
	all  int
	here map[netip.Prefix]int
}

// ErrCrowded refuses one more.
var ErrCrowded = errors.New("too many connections are open")

// Enter counts one more, or returns [ErrCrowded].
func (c *Crowd) Enter(from netip.Addr) error {
	network := NetworkOf(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all >= c.Max:
		return ErrCrowded
	case c.here[network] >= c.Each && !from.IsLoopback():
		return fmt.Errorf("%w from %v", ErrCrowded, network)
	}
	if c.here == nil {
		c.here = map[netip.Prefix]int{}
	}
	c.all++
	c.here[network]++
	return nil
}

// Leave counts one less.
func (c *Crowd) Leave(from netip.Addr) {
	network := NetworkOf(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.here[network]--; c.here[network] == 0 {
		delete(c.here, network)
	}
}
