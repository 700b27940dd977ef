package coap

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// maxHandshakes bounds the handshakes that a server has under way.
	maxHandshakes = 256
	// handshakeTimeout bounds a handshake while there is room: a device on a bad link
	// sends a message again after 1, 3, 7 and 15 seconds.
	handshakeTimeout = 30 * time.Second
	// handshakeShare is what a handshake has in any case, when others want its place:
	// enough for three losses in a row.
	handshakeShare = 8 * time.Second
)

var errGaveWay = errors.New("too many handshakes are under way, this one gave way to another")

// handshakes are those that a server has under way, with peers that have shown that
// they get what is sent to their address. When there are too many, the oldest of
// the network with the most gives way, so nobody is kept out by who begins many.
type handshakes struct {
	mu   sync.Mutex
	open []*greeting // oldest first

	freed func() // hears of a place, if it is given
}

type greeting struct {
	network netip.Prefix
	begun   time.Time // its time: over DTLS since the hello was answered
	end     func()    // closes the connection
	gaveWay bool      // guarded by the lock of handshakes
}

// networkOf is what counts as one peer: an IPv4 address, or the 64 bits of an IPv6
// address behind which somebody has as many addresses as they like.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits)
	return p
}

// begin gives a place to a handshake that end would close. Without one greedy tells
// whether the peer's own network has the most of them.
func (h *handshakes) begin(from netip.Addr, end func()) (g *greeting, greedy bool) {
	g = &greeting{network: networkOf(from), begun: time.Now(), end: end}
	h.mu.Lock()
	var loser *greeting
	if len(h.open) >= maxHandshakes {
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

// loser is the handshake that gives way to g, if one has to: its network has more
// than that of g even then, or it has had its time. The caller holds the lock.
func (h *handshakes) loser(g *greeting) (loser *greeting, greedy bool) {
	shares := map[netip.Prefix]int{}
	for _, o := range h.open {
		shares[o.network]++
	}
	for _, o := range h.open {
		if loser == nil || shares[o.network] > shares[loser.network] {
			loser = o
		}
	}
	if shares[loser.network] > shares[g.network]+1 || g.begun.Sub(loser.begun) > handshakeShare {
		return loser, false
	}
	return nil, shares[loser.network] == shares[g.network] && shares[g.network] > 1
}

// answered begins the time of a handshake: what came before was up to this side.
func (h *handshakes) answered(g *greeting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g.begun = time.Now()
}

// end gives the place back. It tells whether the handshake has lost it before.
func (h *handshakes) end(g *greeting) (gaveWay bool) {
	h.mu.Lock()
	h.remove(g)
	gaveWay = g.gaveWay
	h.mu.Unlock()
	if h.freed != nil && !gaveWay {
		h.freed()
	}
	return gaveWay
}

func (h *handshakes) remove(g *greeting) {
	if i := slices.Index(h.open, g); i >= 0 {
		h.open = slices.Delete(h.open, i, i+1)
	}
}
