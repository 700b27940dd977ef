package coap

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// maxWaitingHellos bounds the hellos that wait for a place among the handshakes,
	// maxWaitingHello what one is long, in bytes.
	maxWaitingHellos = 1 << 12
	maxWaitingHello  = 1 << 10
	// helloPatience is how long after its hello a device is thought to be there: it
	// repeats it after 1, 2, 4 and 8 seconds.
	helloPatience = 10 * time.Second
)

// waiting are hellos with a cookie for which there is no place yet. Without it, many
// devices that come back at once would find one only when they happen to repeat
// theirs at the right moment.
type waiting struct {
	mu     sync.Mutex
	order  []netip.AddrPort // each is in hellos
	hellos map[netip.AddrPort]waitingHello
}

type waitingHello struct {
	at       time.Time
	datagram []byte
}

func (w *waiting) add(from netip.AddrPort, hello []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, there := w.hellos[from]
	if len(hello) > maxWaitingHello || !there && len(w.order) >= maxWaitingHellos {
		return
	}
	if !there {
		w.order = append(w.order, from)
	}
	if w.hellos == nil {
		w.hellos = map[netip.AddrPort]waitingHello{}
	}
	w.hellos[from] = waitingHello{time.Now(), hello}
}

// next takes the one that has waited for longest.
func (w *waiting) next() (from netip.AddrPort, hello []byte, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.order) > 0 {
		from = w.order[0]
		w.order = w.order[1:]
		h := w.hellos[from]
		delete(w.hellos, from)
		if time.Since(h.at) < helloPatience {
			return from, h.datagram, true
		}
	}
	return netip.AddrPort{}, nil, false
}
