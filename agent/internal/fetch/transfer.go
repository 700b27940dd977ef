package fetch

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"

	"github.com/tranquil-iot/tranquil/agent/internal/fetch/congestion"
)

const (
	largestSZX  = 6 // 1024 bytes
	smallestSZX = 4 // 256 bytes; below that a request costs more than it brings
	maxTries    = 8
	maxProbes   = 6                     // tries to get a block out of order, before the server is taken to serve none
	maxAhead    = 2 * congestion.Widest // blocks kept until those before them come
	maxSent     = 1 << 15               // per socket, half of the message ids
	maxNum      = 1<<20 - 1

	// Over TCP nothing gets lost, and TCP itself sees to congestion (RFC 8323 section
	// 3.4): so many requests are under way, and none is sent again. Silence ends the leg.
	streamAhead   = 64
	streamPatient = time.Hour
)

// An order is what is known of a server's dealing with blocks that are not asked
// for one after the other. RFC 7959 allows a server to serve only those.
type order uint8

const (
	unknown order = iota
	probing       // two blocks are under way, the second of them was asked for first
	anyOrder
	inSequence
)

// A transfer brings one resource block by block, several at a time. It counts
// in byte offsets: block numbers change their meaning with the block size. It has
// neither a socket nor a clock.
type transfer struct {
	write func(datagram []byte) error
	opts  message.Options
	echo  []byte // what the server wants to see again (RFC 9175)
	sink  *sink
	pin   *pin
	pace  congestion.Control
	order order
	whole bool // over TCP

	szx      uint8  // of the blocks that are asked for now
	largest  uint8  // that the server and, as far as is known, the path let through
	passes   uint8  // the largest that came through since the last silence; 0: none
	nonce    uint32 // first half of the tokens
	mid      uint16
	low      int64            // all before it is in the sink
	holes    []span           // to be asked for before next
	next     int64            // to be asked for
	end      int64            // of the resource; -1 while unknown
	asks     map[int64]*ask   // not answered, by offset
	arrived  map[int64][]byte // ahead of low, by offset
	probed   int              // right answers to this probe
	doubts   int              // what had to be asked for again while probing
	sent     int
	heard    time.Time // an answer came last
	doubtful bool      // in this probe, too
	tardy    int       // answers to later requests that make a block count as lost
}

// A span is a part of the resource.
type span struct{ from, to int64 }

// An ask is a request that has not been answered.
type ask struct {
	offset int64
	szx    uint8
	tries  int
	each   [maxTries]struct {
		mid  uint16
		sent time.Time
	}
	echo     []byte // in the last try
	deadline time.Time
	lost     bool // to be sent again
	passed   int  // answers to requests sent later
}

func (a *ask) last() time.Time { return a.each[a.tries-1].sent }
func (a *ask) size() int64     { return 16 << a.szx }

func newTransfer(write func([]byte) error, way wayTo, r resource, s *sink, p *pin) *transfer {
	t := &transfer{
		write: write, opts: r.options(), sink: s, pin: p, echo: way.echo, pace: way.pace, order: way.order,
		largest: cmp.Or(p.szx, largestSZX), end: s.size, tardy: leastTardy,
		asks: map[int64]*ask{}, arrived: map[int64][]byte{},
	}
	if p.inSequence {
		t.order = inSequence
	}
	var seed [6]byte
	rand.Read(seed[:]) // it never fails
	t.szx = t.largest
	t.nonce, t.mid = binary.BigEndian.Uint32(seed[:]), binary.BigEndian.Uint16(seed[4:])
	t.restart()
	return t
}

// overStream is for a connection of TCP, over which requests come in order.
func (t *transfer) overStream() {
	t.whole = true
	if t.order != inSequence {
		t.order = anyOrder
	}
}

// restart forgets what is under way and begins at the sink's offset, or the
// start of the block it lies in.
func (t *transfer) restart() {
	clear(t.asks)
	clear(t.arrived)
	t.holes = nil
	t.nonce++
	t.low = t.sink.have &^ (t.blockSize() - 1)
	t.next = t.low
}

func (t *transfer) blockSize() int64 { return 16 << t.szx }
func (t *transfer) complete() bool   { return t.end >= 0 && t.sink.have >= t.end }

// limit is how many requests may be under way: what congestion control allows once
// the server has served blocks in another order, and one before (RFC 7252 section
// 4.7: NSTART is 1).
func (t *transfer) limit() int {
	switch {
	case t.whole && t.order == anyOrder:
		return streamAhead
	case t.order == anyOrder:
		return t.pace.Window()
	case t.order == probing, t.order == unknown && !t.heard.IsZero() && t.end-t.next > t.blockSize():
		return 2
	}
	return 1
}

// askMore sends again what was lost, and then asks for more.
func (t *transfer) askMore(now time.Time) error {
	lost := t.inOrder(func(a *ask) bool { return a.lost })
	for room := t.limit() - (len(t.asks) - len(lost)); room > 0; room-- {
		var a *ask
		switch {
		case len(lost) > 0:
			a, lost = lost[0], lost[1:]
		case t.sent < maxSent || t.whole:
			if a = t.another(); a == nil {
				return nil
			}
			t.asks[a.offset] = a
		default:
			return nil
		}
		if err := t.send(a, now); errors.Is(err, errSmaller) {
			return t.askMore(now)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// errSmaller says that all that is under way has to be asked for in smaller blocks.
var errSmaller = errors.New("datagram too large")

// another is what to ask for next, if anything. While the end is unknown that is
// one block at a time; an empty resource is asked for, too.
func (t *transfer) another() *ask {
	if t.order == unknown && t.limit() == 2 {
		t.order, t.probed, t.doubtful = probing, 0, false
		second := t.next + t.blockSize()
		t.holes = append(t.holes, span{second, second + t.blockSize()}, span{t.next, second})
		t.next = second + t.blockSize()
	}
	for len(t.holes) > 0 {
		hole := &t.holes[0]
		if t.end >= 0 && hole.from >= max(t.end, 1) { // of a last block that was cut into smaller ones
			t.holes = t.holes[1:]
			continue
		}
		a := t.within(*hole)
		if hole.from += a.size(); hole.from >= hole.to {
			t.holes = t.holes[1:]
		}
		return a
	}
	if !t.wanted(t.next) {
		return nil
	}
	a := t.within(span{t.next, math.MaxInt64})
	t.next += a.size()
	return a
}

// within asks for as much as one block can hold from the beginning of s on.
func (t *transfer) within(s span) *ask {
	a := &ask{offset: s.from, szx: t.szx}
	for a.szx > 0 && (s.from%a.size() != 0 || s.to-s.from < a.size()) {
		a.szx--
	}
	return a
}

func (t *transfer) wanted(offset int64) bool {
	if t.end < 0 {
		return len(t.asks) == 0 && !t.complete()
	}
	if t.heard.IsZero() && offset == 0 {
		return true
	}
	return offset < t.end && offset-t.low < maxAhead*t.blockSize()
}

// send asks for a block, for the first time or again. Each try is a request of its
// own, with its own message id and token: so it is known which of them is answered,
// how long that took, and whether it was right to ask again.
func (t *transfer) send(a *ask, now time.Time) error {
	if a.tries >= maxTries {
		return passing("no answer to block at byte %d after %d tries", a.offset, a.tries)
	}
	b := block{num: a.offset >> (a.szx + 4), szx: a.szx}
	if b.num > maxNum {
		return fmt.Errorf("CoAP cannot carry more than %d blocks of %d bytes, use HTTP: %w", maxNum+1, b.size(), ErrRefused)
	}
	t.mid++
	t.sent++
	datagram, err := encodeRequest(t.opts, t.echo, b, int32(t.mid), t.token(b, a.tries))
	if err != nil {
		return err
	}
	a.each[a.tries].mid, a.each[a.tries].sent = t.mid, now
	a.tries++
	a.lost, a.passed, a.echo = false, 0, t.echo
	a.deadline = now.Add(t.pace.Timeout(a.tries))
	if t.whole {
		a.deadline = now.Add(streamPatient)
	}
	err = t.write(datagram)
	if errors.Is(err, syscall.EMSGSIZE) && t.shrink() {
		return errSmaller
	}
	if err != nil && !errors.Is(err, syscall.ENOBUFS) {
		return passing("%w", err)
	}
	return nil
}

// token says which try for which block it is of.
func (t *transfer) token(b block, try int) []byte {
	token := binary.BigEndian.AppendUint32(nil, t.nonce)
	return binary.BigEndian.AppendUint32(token, uint32(try)<<24|uint32(b.szx)<<20|uint32(b.num))
}

// shrink halves the block size, if it can, for paths that lose large datagrams: for
// good, if smaller ones come through.
func (t *transfer) shrink() bool {
	if t.szx <= smallestSZX {
		return false
	}
	t.szx--
	if t.passes > 0 {
		t.largest = t.szx
	}
	var again []span
	for _, a := range t.inOrder(func(*ask) bool { return true }) {
		again = append(again, span{a.offset, a.offset + a.size()})
	}
	t.holes = append(again, t.holes...)
	clear(t.asks)
	return true
}

// earliest is when the next ask runs out of time.
func (t *transfer) earliest() time.Time {
	var first time.Time
	for _, a := range t.asks {
		if !a.lost && (first.IsZero() || a.deadline.Before(first)) {
			first = a.deadline
		}
	}
	return first
}

// expire has what was not answered in time sent again. If nothing has come at all
// since then, that holds for whatever is under way.
func (t *transfer) expire(now time.Time) {
	for _, a := range t.inOrder(func(a *ask) bool { return !a.lost && !a.deadline.After(now) }) {
		silence := !t.heard.After(a.last())
		switch {
		case t.order == probing && a.tries >= maxProbes:
			t.serialise()
			return
		case t.tooLarge(a) && t.shrink():
			return
		case silence:
			t.pace.TimedOut(a.last(), now)
			for _, a := range t.asks {
				a.lost = true
			}
			return
		}
		a.lost = true
		t.pace.Lost(a.last(), now)
	}
}

// tooLarge reports whether the path may lose a block for its size: smaller ones come
// through, or none at all for long.
func (t *transfer) tooLarge(a *ask) bool {
	if a.szx > t.passes && t.passes > 0 {
		return a.tries >= 3
	}
	inVain := 0 // since an answer came
	for _, try := range a.each[:a.tries] {
		if try.sent.After(t.heard) {
			inVain++
		}
	}
	silence := inVain > 0 && inVain%2 == 0 && (inVain > 2 || t.heard.IsZero())
	if silence {
		t.passes = 0
	}
	return silence
}

// serialise goes back to one block after the other.
func (t *transfer) serialise() {
	t.order, t.pin.inSequence = inSequence, true
	t.restart()
}

func (t *transfer) inOrder(which func(*ask) bool) []*ask {
	var list []*ask
	for _, a := range t.asks {
		if which(a) {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *ask) int { return cmp.Compare(a.offset, b.offset) })
	return list
}
