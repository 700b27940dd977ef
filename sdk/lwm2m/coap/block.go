package coap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// Block-wise transfer (RFC 7959), one block at a time, for payloads that do not
// fit a datagram: object lists and reads of many instances. Answers are cut
// without keeping state; their ETag tells the reader if they changed meanwhile.
const (
	maxSZX      = 6 // blocks of 1024 bytes
	maxBlock    = 16 << maxSZX
	maxNum      = 1<<20 - 1 // of a block
	maxBody     = 1 << 20   // of a response put together from blocks
	maxRestarts = 3         // of a response that changes while it is read
)

// block is the value of a Block1 or Block2 option.
type block struct {
	num  uint32
	more bool
	szx  uint8
	bert bool // over TCP: several blocks of 1024 bytes at once (RFC 8323 section 6)
}

func (b block) size() int   { return 16 << b.szx }
func (b block) offset() int { return int(b.num) * b.size() }

// filled tells whether a payload of n bytes may have others behind it.
func (b block) filled(n int) bool { return n == b.size() || b.bert && n > 0 && n%b.size() == 0 }

func (b block) add(o message.Options, id message.OptionID) message.Options {
	v := b.num<<4 | uint32(b.szx)
	if b.more {
		v |= 8
	}
	if b.bert {
		v |= 7
	}
	return addUint(o.Remove(id), id, v)
}

func getBlock(m message.Message, id message.OptionID) (b block, ok bool) {
	raw, err := m.Options.GetBytes(id)
	if err != nil || len(raw) > 3 {
		return block{}, false
	}
	v := uint32(number(raw))
	return block{num: v >> 4, more: v&8 != 0, szx: min(uint8(v&7), maxSZX), bert: v&7 == 7}, true
}

// badBlock gives the answer to a request whose Block option cannot be meant: it is
// critical (RFC 7959 section 2.2), and the largest size is TCP's (RFC 8323 section 6).
func badBlock(m message.Message, framed bool) (answer message.Message, bad bool) {
	for _, id := range []message.OptionID{message.Block1, message.Block2} {
		raw, err := m.Options.GetBytes(id)
		switch {
		case err != nil:
		case len(raw) > 3:
			return message.Message{Code: codes.BadOption, Payload: []byte("a Block option has at most three bytes")}, true
		case !framed && number(raw)&7 == 7:
			return message.Message{Code: codes.BadRequest, Payload: []byte("the size of the block is reserved")}, true
		}
	}
	return message.Message{}, false
}

// answerBlock cuts the response to the block that the request asks for, or to the
// first one if it is longer than limit.
func answerBlock(response, request message.Message, limit int) message.Message {
	if upload, ok := getBlock(request, message.Block1); ok {
		response.Options = upload.add(response.Options, message.Block1)
	}
	want, asked := getBlock(request, message.Block2)
	if !asked {
		want = block{szx: maxSZX}
	}
	if !lwm2m.Code(response.Code).Success() || !asked && len(response.Payload) <= limit {
		return response
	}
	if want.num > 0 && want.offset() >= len(response.Payload) {
		return message.Message{Code: codes.BadOption, Payload: []byte("the block is beyond the end")}
	}
	return cut(response, want)
}

// firstBlock cuts a notification that is too long; the reader gets the rest.
func firstBlock(m message.Message, limit int) message.Message {
	if len(m.Payload) <= limit {
		return m
	}
	return cut(m, block{szx: maxSZX})
}

func cut(m message.Message, b block) message.Message {
	tag := sha256.Sum256(m.Payload)
	end := min(b.offset()+b.size(), len(m.Payload))
	b.more = end < len(m.Payload)
	m.Options = b.add(m.Options, message.Block2)
	m.Options = m.Options.Add(message.Option{ID: message.ETag, Value: tag[:8]})
	m.Payload = m.Payload[b.offset():end]
	return m
}

// exchangeBlocks is an exchange whose request or response may be long.
func (c *Conn) exchangeBlocks(ctx context.Context, to string, request *lwm2m.Message) (*lwm2m.Message, error) {
	m := toWire(request)
	first, err := c.upload(ctx, to, m, request)
	if err != nil {
		return nil, err
	}
	whole, err := c.download(ctx, to, m, first)
	if err != nil {
		return nil, err
	}
	response, err := fromWire(first)
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer: %w", err)
	}
	response.Payload = whole
	return response, nil
}

// upload sends a request, in blocks if it is long.
func (c *Conn) upload(ctx context.Context, to string, m message.Message, request *lwm2m.Message) (message.Message, error) {
	switch {
	case request.Body != nil:
		m.Options = addUint(m.Options, message.Size1, uint32(min(request.Size, math.MaxUint32)))
		return c.sendBlocks(ctx, to, m, request.Body, request.Size)
	case len(m.Payload) > c.body(to):
		m.Options = addUint(m.Options, message.Size1, uint32(len(m.Payload)))
		return c.sendBlocks(ctx, to, m, bytes.NewReader(m.Payload), int64(len(m.Payload)))
	}
	r, err := c.exchange(ctx, to, m)
	if err == nil && r.Code == codes.Continue {
		err = errors.New("the peer asks for more of a request that is whole")
	}
	return r, err
}

// sendBlocks sends a request whose payload is the size bytes of body (RFC 7959
// section 2.5).
func (c *Conn) sendBlocks(ctx context.Context, to string, m message.Message, body io.Reader, size int64) (message.Message, error) {
	b, buffer := block{szx: maxSZX}, make([]byte, maxBlock)
	for sent := int64(0); ; {
		part, num := m, sent/int64(b.size())
		if num > maxNum {
			return message.Message{}, fmt.Errorf("%d bytes are more than %d blocks of %d bytes", size, maxNum+1, b.size())
		}
		part.Payload = buffer[:min(int64(b.size()), size-sent)]
		if _, err := io.ReadFull(body, part.Payload); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return message.Message{}, fmt.Errorf("cannot read what is to be sent: %w", err)
		}
		sent += int64(len(part.Payload))
		b.num, b.more = uint32(num), sent < size
		part.Options = b.add(cloneOptions(m.Options), message.Block1)
		r, err := c.exchange(ctx, to, part)
		if got, ok := getBlock(r, message.Block1); err == nil && ok && num == 0 && r.Code == codes.RequestEntityTooLarge && got.szx < b.szx {
			// It takes smaller ones only (RFC 7959 section 2.9.3).
			b.szx, sent, body = got.szx, 0, io.MultiReader(bytes.NewReader(clone(part.Payload)), body)
			continue
		}
		switch {
		case err != nil || !lwm2m.Code(r.Code).Success():
			return r, err
		case b.more && r.Code != codes.Continue:
			return r, errors.New("the peer does not put blocks together: it took the first for all")
		case !b.more && r.Code == codes.Continue:
			return r, errors.New("the peer wants more blocks than there are")
		case !b.more:
			return r, nil
		}
		if got, ok := getBlock(r, message.Block1); ok {
			b.szx = min(b.szx, got.szx)
		}
	}
}

var errChanged = errors.New("the answer changed while it was read")

// download fetches what follows the first block of a response, from its start
// again if it changes meanwhile.
func (c *Conn) download(ctx context.Context, to string, m, first message.Message) ([]byte, error) {
	for range maxRestarts {
		body, err := c.blocks(ctx, to, m, first)
		if !errors.Is(err, errChanged) {
			return body, err
		}
		if first, err = c.exchange(ctx, to, blockRequest(m, block{szx: maxSZX})); err != nil {
			return nil, err
		}
	}
	return nil, errChanged
}

func (c *Conn) blocks(ctx context.Context, to string, m, first message.Message) ([]byte, error) {
	body := clone(first.Payload)
	b, ok := getBlock(first, message.Block2)
	for ok && b.more {
		if len(body)%b.size() != 0 || len(body) > maxBody || len(body) < (int(b.num)+1)*b.size() { // or it would be asked for again and again
			return nil, fmt.Errorf("the answer's blocks do not fit together after %d bytes", len(body))
		}
		next := block{num: uint32(len(body) / b.size()), szx: b.szx}
		r, err := c.exchange(ctx, to, blockRequest(m, next))
		if err != nil {
			return nil, err
		}
		if b, ok = getBlock(r, message.Block2); !ok || b.num != next.num || r.Code != first.Code || !sameTag(r, first) {
			return nil, errChanged
		}
		body = append(body, r.Payload...)
	}
	return body, nil
}

// blockRequest asks for one block of the answer to m; it does not observe again.
func blockRequest(m message.Message, b block) message.Message {
	return message.Message{Code: m.Code, Options: b.add(cloneOptions(m.Options).Remove(message.Observe), message.Block2)}
}

func cloneOptions(o message.Options) message.Options { return append(message.Options(nil), o...) }

func sameTag(a, b message.Message) bool {
	x, _ := a.Options.GetBytes(message.ETag)
	y, _ := b.Options.GetBytes(message.ETag)
	return bytes.Equal(x, y)
}
