package fetch

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
)

const (
	largestSZX  = 6 // 1024 bytes
	smallestSZX = 4 // 256 bytes; below that a request costs more than it brings
	maxTries    = 8
	maxAhead    = 2 * widest // blocks kept until those before them come
	maxAsks     = 1 << 15    // per socket, half of the message ids
	maxNum      = 1<<20 - 1
)

// A transfer brings one resource block by block, several at a time. It counts
// in byte offsets: block numbers change their meaning with the block size.
type transfer struct {
	conn net.Conn
	opts message.Options
	sink *sink
	pin  *pin
	pace pace

	szx     uint8
	nonce   uint32 // first half of the tokens; the other is the block number
	mid     uint16
	low     int64            // all before it is in the sink
	next    int64            // to be asked for
	end     int64            // of the resource; -1 while unknown
	asks    map[int64]*ask   // in flight, by offset
	arrived map[int64][]byte // ahead of low, by offset
	asked   int
	heard   bool // an answer came
}

// An ask is a request in flight.
type ask struct {
	offset   int64
	datagram []byte
	mid      uint16
	first    time.Time // sent
	sent     time.Time // sent last
	deadline time.Time
	tries    int
	passed   int // answers to requests sent later
}

func newTransfer(conn net.Conn, speed pace, r resource, s *sink, p *pin) *transfer {
	t := &transfer{
		conn: conn, opts: r.options(), sink: s, pin: p, pace: speed,
		szx: cmp.Or(p.szx, largestSZX), end: s.size,
		asks: map[int64]*ask{}, arrived: map[int64][]byte{},
	}
	var seed [6]byte
	rand.Read(seed[:]) // it never fails
	t.nonce, t.mid = binary.BigEndian.Uint32(seed[:]), binary.BigEndian.Uint16(seed[4:])
	t.restart()
	return t
}

// restart forgets what is in flight and begins at the sink's offset, or the
// start of the block it lies in.
func (t *transfer) restart() {
	clear(t.asks)
	clear(t.arrived)
	t.nonce++
	t.low = t.sink.have &^ (t.blockSize() - 1)
	t.next = t.low
}

func (t *transfer) blockSize() int64 { return 16 << t.szx }
func (t *transfer) complete() bool   { return t.end >= 0 && t.sink.have >= t.end }

// askMore fills the window.
func (t *transfer) askMore(now time.Time) error {
	for len(t.asks) < int(t.pace.window) && t.asked < maxAsks && t.wanted(t.next) {
		a, err := t.newAsk(t.next)
		if err != nil {
			return err
		}
		t.asks[a.offset] = a
		t.next += t.blockSize()
		t.asked++
		if err := t.send(a, now); err != nil {
			return err
		}
	}
	return nil
}

// wanted tells whether to ask for that offset now. While the end is unknown
// one block is asked for at a time; an empty resource is asked for, too.
func (t *transfer) wanted(offset int64) bool {
	if t.end < 0 {
		return len(t.asks) == 0 && !t.complete()
	}
	if !t.heard && offset == 0 {
		return true
	}
	return offset < t.end && offset-t.low < maxAhead*t.blockSize()
}

func (t *transfer) newAsk(offset int64) (*ask, error) {
	b := block{num: offset / t.blockSize(), szx: t.szx}
	if b.num > maxNum {
		return nil, fmt.Errorf("CoAP cannot carry more than %d blocks of %d bytes, use HTTP: %w", maxNum+1, b.size(), ErrRefused)
	}
	t.mid++
	token := binary.BigEndian.AppendUint32(nil, t.nonce)
	token = binary.BigEndian.AppendUint32(token, uint32(b.num))
	datagram, err := encodeRequest(t.opts, b, int32(t.mid), token)
	return &ask{offset: offset, datagram: datagram, mid: t.mid}, err
}

func (t *transfer) send(a *ask, now time.Time) error {
	if a.tries == 0 {
		a.first = now
	}
	a.tries++
	a.passed = 0
	a.sent, a.deadline = now, now.Add(t.pace.timeout(a.tries))
	_, err := t.conn.Write(a.datagram)
	if errors.Is(err, syscall.EMSGSIZE) && t.shrink() {
		return nil
	}
	if err != nil && !errors.Is(err, syscall.ENOBUFS) {
		return passing("%w", err)
	}
	return nil
}

// shrink halves the block size, if it can, for paths that lose large datagrams.
func (t *transfer) shrink() bool {
	if t.szx <= smallestSZX {
		return false
	}
	t.szx--
	t.restart()
	return true
}

// earliest is when the next ask runs out of time.
func (t *transfer) earliest() time.Time {
	var first time.Time
	for _, a := range t.asks {
		if first.IsZero() || a.deadline.Before(first) {
			first = a.deadline
		}
	}
	return first
}

// expire repeats what was not answered in time, no more than the window at
// once.
func (t *transfer) expire(now time.Time) error {
	late := t.inOrder(func(a *ask) bool { return !a.deadline.After(now) })
	for i, a := range late {
		if a.tries >= maxTries {
			return passing("no answer to block at byte %d after %d tries", a.offset, a.tries)
		}
		if !t.heard && a.tries%2 == 0 && t.shrink() {
			return nil
		}
		if i > 0 && i >= int(t.pace.window) {
			a.deadline = now.Add(t.pace.rto)
			continue
		}
		if err := t.repeat(a, now); err != nil {
			return err
		}
	}
	return nil
}

func (t *transfer) repeat(a *ask, now time.Time) error {
	t.pace.lost(a.sent, now)
	return t.send(a, now)
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
