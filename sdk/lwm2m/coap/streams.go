package coap

import (
	"context"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// streams are the long requests (Block1) that go to their handler block by block:
// none of them is kept here.
type streams struct {
	mu sync.Mutex
	m  map[uploadID]*stream
}

// A stream is one of them. Its peer sends one block at a time.
type stream struct {
	mu       sync.Mutex // held while a block is taken
	upload   *lwm2m.Upload
	next     int           // offset of the block that is due
	patience time.Duration // between two blocks
	silence  *time.Timer   // ends it when that is over
	over     bool
}

// stream takes one block of a request that the handler wants as it arrives, and
// gives its answer.
func (c *Conn) stream(ctx context.Context, h lwm2m.Handler, peer string, m message.Message, request *lwm2m.Message) (answer message.Message, streamed bool) {
	b, inBlocks := getBlock(m, message.Block1)
	handler, streams := h.(lwm2m.StreamHandler)
	if !inBlocks || !streams {
		return message.Message{}, false
	}
	id := identify(peer, request)
	if b.num == 0 {
		refusal, begun := c.begin(ctx, handler, id, request)
		if refusal != nil {
			return answerBlock(toWire(refusal), m, maxBlock), true
		}
		if !begun {
			return message.Message{}, false
		}
	}
	c.streams.mu.Lock()
	s, open := c.streams.m[id]
	c.streams.mu.Unlock()
	if !open {
		return message.Message{}, false
	}
	r, ended := s.take(b, request.Payload)
	if ended {
		c.endStream(id, s)
	}
	r.Options = b.add(r.Options, message.Block1)
	return r, true
}

// begin asks the handler for the first block; a request that begins anew takes
// the place of one that has not ended.
func (c *Conn) begin(ctx context.Context, h lwm2m.StreamHandler, id uploadID, request *lwm2m.Message) (refusal *lwm2m.Message, begun bool) {
	c.streams.mu.Lock()
	old := c.streams.m[id]
	full := old == nil && len(c.streams.m) >= maxUploads
	c.streams.mu.Unlock()
	if old != nil {
		old.abort()
		c.endStream(id, old)
	}
	if full {
		return &lwm2m.Message{Code: lwm2m.CodeUnavailable}, false
	}
	u, refusal := h.Upload(ctx, id.peer, request)
	if u == nil {
		return refusal, false
	}
	s := &stream{upload: u, patience: c.transmission.ExchangeLifetime()}
	s.silence = time.AfterFunc(s.patience, func() {
		s.abort()
		c.endStream(id, s)
	})
	c.streams.mu.Lock()
	defer c.streams.mu.Unlock()
	c.streams.m[id] = s
	return nil, true
}

func (c *Conn) endStream(id uploadID, s *stream) {
	s.silence.Stop()
	c.streams.mu.Lock()
	defer c.streams.mu.Unlock()
	if c.streams.m[id] == s {
		delete(c.streams.m, id)
	}
}

// endStreams aborts what nobody will go on with.
func (c *Conn) endStreams() {
	c.streams.mu.Lock()
	open := c.streams.m
	c.streams.m = map[uploadID]*stream{}
	c.streams.mu.Unlock()
	for _, s := range open {
		s.silence.Stop()
		s.abort()
	}
}

// take gives the handler one block. It ends with the last, with one that is
// refused, and with one that is out of order (RFC 7959 section 2.9.2).
func (s *stream) take(b block, payload []byte) (answer message.Message, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return message.Message{Code: codes.RequestEntityIncomplete}, true
	}
	if b.offset() != s.next || b.more && !b.filled(len(payload)) {
		s.over = true
		s.upload.Abort()
		return message.Message{Code: codes.RequestEntityIncomplete}, true
	}
	if refusal := s.upload.Write(payload); refusal != nil {
		s.over = true
		return toWire(refusal), true
	}
	s.next += len(payload)
	if b.more {
		s.silence.Reset(s.patience)
		return message.Message{Code: codes.Continue}, false
	}
	s.over = true
	return toWire(s.upload.Finish()), true
}

func (s *stream) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over = true
		s.upload.Abort()
	}
}
