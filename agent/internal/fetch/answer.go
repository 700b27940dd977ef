package fetch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// overtaken is how many answers to later requests make a block count as lost.
const overtaken = 3

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
