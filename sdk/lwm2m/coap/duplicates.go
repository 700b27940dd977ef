package coap

import (
	"hash/maphash"
	"sync"
	"time"
)

// maxDuplicates bounds the memory for answers; beyond it the oldest is forgotten.
const maxDuplicates = 1 << 16

// A requestID tells requests apart. A repeated one is the same byte by byte;
// a peer that has started again, at the same address, may have used the message
// id for something else.
type requestID struct {
	exchangeID
	content uint64 // a hash
}

// duplicates remembers the requests of the last minutes with what was answered,
// so that a repeated request is answered again but not done again (RFC 7252
// section 4.5).
type duplicates struct {
	lifetime time.Duration // EXCHANGE_LIFETIME
	seed     maphash.Seed

	mu    sync.Mutex
	m     map[requestID]*served
	order []*served // oldest first
}

type served struct {
	id     requestID
	at     time.Time
	answer []byte // nil while the request is worked on
}

func newDuplicates(lifetime time.Duration) *duplicates {
	return &duplicates{lifetime: lifetime, m: map[requestID]*served{}, seed: maphash.MakeSeed()}
}

// identify gives the identity of a request, from its datagram.
func (d *duplicates) identify(id exchangeID, datagram []byte) requestID {
	return requestID{id, maphash.Bytes(d.seed, datagram)}
}

// begin tells whether the request is new; if not, what was answered.
func (d *duplicates) begin(id requestID) (fresh bool, answer []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for len(d.order) > 0 && (now.Sub(d.order[0].at) > d.lifetime || len(d.order) >= maxDuplicates) {
		if old := d.order[0]; d.m[old.id] == old {
			delete(d.m, old.id)
		}
		d.order = d.order[1:]
	}
	if s, ok := d.m[id]; ok {
		return false, s.answer
	}
	s := &served{id: id, at: now}
	d.m[id] = s
	d.order = append(d.order, s)
	return true, nil
}

// finish keeps the answer.
func (d *duplicates) finish(id requestID, answer []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.m[id]; ok {
		s.answer = answer
	}
}
