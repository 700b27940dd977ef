package fetch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// How many answers to later requests make a block count as lost (RFC 5681 section
// 3.2). It becomes more where blocks overtake each other.
const (
	leastTardy = 3
	mostTardy  = 24
)

// promised is how long to wait for an answer that the server has acknowledged
// without having it.
const promised = 10 * time.Second

// handle takes a datagram. One that is malformed or answers nothing that is under
// way is passed over: it may be old, or forged.
func (t *transfer) handle(datagram []byte, now time.Time) error {
	ans, err := parseAnswer(datagram)
	if err != nil {
		return nil
	}
	if ans.typ == message.Confirmable { // a separate response, RFC 7252 section 5.2.2
		if ack, err := encodeAck(ans.mid); err == nil {
			t.write(ack)
		}
	}
	if ans.code == codes.Empty {
		return t.signalled(ans, now)
	}
	a, try := t.match(ans)
	if a == nil {
		return nil
	}
	if t.challenged(ans, a) {
		return nil
	}
	if err := t.judge(ans, a); t.disordered(err) {
		t.serialise()
		return nil
	} else if err != nil {
		return err
	}
	t.heard = now
	t.settle(a, try, now)
	if err := t.keep(ans, a); err != nil {
		return err
	}
	t.lose(a.each[try].sent, now)
	return nil
}

// disordered reports whether an error may come from the order of requests.
func (t *transfer) disordered(err error) bool {
	return t.order != inSequence && len(t.asks) > 1 && errors.Is(err, ErrRefused)
}

// signalled handles an empty message: the answer comes later, or never.
func (t *transfer) signalled(ans answer, now time.Time) error {
	for _, a := range t.asks {
		if int32(a.each[a.tries-1].mid) != ans.mid {
			continue
		}
		if ans.typ == message.Reset {
			return fmt.Errorf("server resets the request: %w", ErrRefused)
		}
		a.deadline = now.Add(promised)
	}
	return nil
}

// match finds the ask that an answer belongs to, and which of its tries.
func (t *transfer) match(ans answer) (*ask, int) {
	if len(ans.token) != 8 || binary.BigEndian.Uint32(ans.token) != t.nonce {
		return nil, 0
	}
	v := binary.BigEndian.Uint32(ans.token[4:])
	b, try := block{num: int64(v & maxNum), szx: uint8(v >> 20 & 7)}, int(v>>24)
	a := t.asks[b.offset()]
	if a == nil || a.szx != b.szx || try >= a.tries {
		return nil, 0
	}
	return a, try
}

// challenged has a request sent again with what the server wants to see in it,
// before it sends much to an address that may be forged (RFC 9175 section 2.3).
func (t *transfer) challenged(ans answer, a *ask) bool {
	again := ans.code == codes.Unauthorized && len(ans.echo) > 0 && !bytes.Equal(ans.echo, a.echo)
	if len(ans.echo) > 0 {
		t.echo = bytes.Clone(ans.echo)
	}
	a.lost = a.lost || again
	return again
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
	if got.offset() != a.offset || got.szx > a.szx && ans.block != nil {
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

// settle takes an ask that was answered off the list, and learns from that. If the
// try before the last is answered, it was not lost but late.
func (t *transfer) settle(a *ask, try int, now time.Time) {
	delete(t.asks, a.offset)
	t.pace.Answered(now.Sub(a.each[try].sent))
	if a.lost || try < a.tries-1 {
		t.pace.Spurious(a.each[try].sent)
		t.tardy = min(2*t.tardy, mostTardy)
		t.reprieve(now)
	}
	if t.order == probing {
		t.prove(try)
	}
}

// prove counts what the probe has brought. A block that had to be asked for again
// proves nothing: by then it may have been next.
func (t *transfer) prove(try int) {
	if try > 0 {
		t.doubts++
		t.doubtful = true
	}
	t.probed++
	switch {
	case t.probed < 2:
	case !t.doubtful:
		t.order = anyOrder
		t.pace.Open()
	case t.doubts >= maxProbes:
		t.order, t.pin.inSequence = inSequence, true
	default:
		t.order = unknown
	}
}

// reprieve waits longer for what counted as lost.
func (t *transfer) reprieve(now time.Time) {
	for _, a := range t.asks {
		if a.lost {
			a.lost, a.passed, a.deadline = false, 0, now.Add(t.pace.Timeout(1))
		}
	}
}

// keep stores the block and writes all that is in order now.
func (t *transfer) keep(ans answer, a *ask) error {
	length := int64(len(ans.payload))
	if ans.block == nil || !ans.block.more {
		t.end = a.offset + length
	} else if t.end < 0 {
		t.end = ans.size
	}
	t.resize(ans, a)
	if a.offset != t.low {
		t.arrived[a.offset] = bytes.Clone(ans.payload)
		return nil
	}
	for b, found := ans.payload, true; found; b, found = t.arrived[t.low] {
		delete(t.arrived, t.low)
		skip := min(max(t.sink.have-t.low, 0), int64(len(b))) // of a block that was here in part
		if _, err := t.sink.Write(b[skip:]); err != nil {
			return err
		}
		if t.low += int64(len(b)); len(b) == 0 {
			break
		}
	}
	return nil
}

// resize has blocks be as large as the server and the path allow.
func (t *transfer) resize(ans answer, a *ask) {
	t.passes = max(t.passes, a.szx)
	if ans.block != nil && ans.block.szx < a.szx { // the server wants smaller blocks
		t.largest = min(t.largest, ans.block.szx)
		t.pin.szx = t.largest
		if ans.block.more {
			t.holes = append(t.holes, span{a.offset + int64(len(ans.payload)), a.offset + a.size()})
		}
	}
	t.szx = t.largest // also after it became smaller in silence, which may have had another reason
}

// lose counts those blocks as lost whose answers should have come by now, since
// requests that were sent later, until then, have theirs: no need to wait for the
// time-out.
func (t *transfer) lose(answered, now time.Time) {
	for _, a := range t.asks {
		if a.lost || t.whole || !a.last().Before(answered) {
			continue
		}
		if a.passed++; a.passed >= t.tardy {
			a.lost = true
			t.pace.Lost(a.last(), now)
		}
	}
}
