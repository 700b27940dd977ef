package fetch

import (
	"bytes"
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
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	largestSZX  = 6 // 1024 bytes
	smallestSZX = 4 // 256 bytes; below that a request costs more than it brings
	maxTries    = 8
	maxAhead    = 2 * widest // blocks kept until those before them come
	maxAsks     = 1 << 15    // per socket, half of the message ids
	maxNum      = 1<<20 - 1
	overtaken   = 3 // answers to later requests that make a block count as lost
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

// handle takes a datagram. One that is malformed or answers nothing that is in
// flight is passed over: it may be old, or forged.
func (t *transfer) handle(datagram []byte, now time.Time) error {
	ans, err := parseAnswer(datagram)
	if err != nil {
		return nil
	}
	if ans.typ == message.Confirmable { // a separate response, RFC 7252 section 5.2.2
		if ack, err := encodeAck(ans.mid); err == nil {
			t.conn.Write(ack)
		}
	}
	if ans.code == codes.Empty {
		return t.signalled(ans, now)
	}
	a := t.match(ans)
	if a == nil {
		return nil
	}
	if err := t.judge(ans, a); err != nil {
		return err
	}
	t.heard = true
	t.settle(a, now)
	if err := t.keep(ans, a); err != nil {
		return err
	}
	return t.repeatOvertaken(a, now)
}

// signalled handles an empty message: the answer comes later, or never.
func (t *transfer) signalled(ans answer, now time.Time) error {
	for _, a := range t.asks {
		if int32(a.mid) != ans.mid {
			continue
		}
		if ans.typ == message.Reset {
			return fmt.Errorf("server resets the request: %w", ErrRefused)
		}
		a.deadline = now.Add(longestRTO)
	}
	return nil
}

// match finds the ask that an answer belongs to.
func (t *transfer) match(ans answer) *ask {
	if len(ans.token) != 8 || binary.BigEndian.Uint32(ans.token) != t.nonce {
		return nil
	}
	return t.asks[int64(binary.BigEndian.Uint32(ans.token[4:]))*t.blockSize()]
}

// judge refuses an answer that is not the block asked for.
func (t *transfer) judge(ans answer, a *ask) error {
	switch ans.code {
	case codes.Content:
	case codes.NotFound:
		return ErrNotFound
	case codes.ServiceUnavailable, codes.TooManyRequests, codes.InternalServerError, codes.GatewayTimeout:
		return passing("server answers %s", describe(ans))
	default:
		return fmt.Errorf("server answers %s: %w", describe(ans), ErrRefused)
	}
	if err := t.pin.hold(ans.etag); err != nil {
		return err
	}
	if ans.size >= 0 {
		if err := t.sink.is(ans.size); err != nil {
			return err
		}
	}
	got := block{szx: largestSZX}
	if ans.block != nil {
		got = *ans.block
	}
	if got.offset() != a.offset || got.szx > t.szx && ans.block != nil {
		return fmt.Errorf("server sends the block at byte %d instead of %d: %w", got.offset(), a.offset, ErrRefused)
	}
	length := int64(len(ans.payload))
	if got.more && length != got.size() || length > got.size() {
		return fmt.Errorf("block at byte %d has %d bytes: %w", a.offset, length, ErrRefused)
	}
	if got.more {
		return t.sink.fits(a.offset + length + 1)
	}
	return t.sink.is(a.offset + length)
}

// settle takes a out of flight and learns from its round trip, unless it was
// sent twice and nobody can know which one was answered (Karn).
func (t *transfer) settle(a *ask, now time.Time) {
	delete(t.asks, a.offset)
	var rtt time.Duration
	if a.tries == 1 {
		rtt = max(now.Sub(a.sent), 1)
	}
	t.pace.answered(rtt)
}

// keep stores the block and writes all that is in order now.
func (t *transfer) keep(ans answer, a *ask) error {
	t.arrived[a.offset] = bytes.Clone(ans.payload)
	if ans.block == nil || !ans.block.more {
		t.end = a.offset + int64(len(ans.payload))
	} else if t.end < 0 {
		t.end = ans.size
	}
	for {
		b, ok := t.arrived[t.low]
		if !ok {
			break
		}
		delete(t.arrived, t.low)
		skip := min(t.sink.have-t.low, int64(len(b))) // of a block that was here in part
		if _, err := t.sink.Write(b[skip:]); err != nil {
			return err
		}
		t.low += int64(len(b))
		if len(b) == 0 {
			break
		}
	}
	if ans.block != nil && ans.block.szx < t.szx { // the server wants smaller blocks
		t.szx = ans.block.szx
		t.restart()
	}
	t.pin.szx = t.szx
	return nil
}

// repeatOvertaken repeats blocks whose answers should have come by now, since
// later requests have theirs: no need to wait for the timeout.
func (t *transfer) repeatOvertaken(answered *ask, now time.Time) error {
	for _, a := range t.inOrder(func(a *ask) bool { return a.sent.Before(answered.first) }) {
		if a.passed++; a.passed < overtaken || a.tries >= maxTries {
			continue
		}
		if err := t.repeat(a, now); err != nil {
			return err
		}
	}
	return nil
}
