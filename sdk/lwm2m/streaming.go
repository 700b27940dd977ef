package lwm2m

import (
	"context"
	"io"
)

// Streamer is an [Object] that takes writes of some opaque resources as they
// arrive, so that they may be longer than what fits in memory: firmware. A
// transport that gets a write in one piece still hands it to Write.
type Streamer interface {
	Object
	// Stream begins a write of resource p, of size bytes, or an unknown number if
	// size is 0. Nil, and no error, means that p is written like any other.
	Stream(ctx context.Context, p Path, size int64) (Stream, error)
}

// Stream takes what a server writes to one resource. Its methods are called one
// after the other; after an error of Write or Close comes Abort. An error that is
// an [*Error] is answered with its code, any other with 5.00.
type Stream interface {
	io.Writer
	// Close says that everything has come.
	Close() error
	// Abort says that the rest does not come.
	Abort(cause error)
}

// StreamHandler is a [Handler] that takes the payload of some requests as it
// arrives.
type StreamHandler interface {
	Handler
	// Upload is asked with the first block of a request. If both answers are nil,
	// the handler wants the request as a whole; a refusal is the answer to it.
	Upload(ctx context.Context, peer string, first *Message) (u *Upload, refusal *Message)
}

// Upload is a request whose payload is taken as it arrives. Only one method runs
// at a time.
type Upload struct {
	client *Client
	path   Path
	stream Stream
	tlv    bool // the payload is one element
	head   bool // whose header is yet to come
	left   int64
}

// Write takes the next bytes of the payload. An answer that is not nil ends the
// upload: it was refused.
func (u *Upload) Write(b []byte) (refusal *Message) {
	b, err := u.strip(b)
	if err == nil {
		_, err = u.stream.Write(b)
	}
	return u.refuse(err)
}

// Finish answers when all has been written.
func (u *Upload) Finish() *Message {
	defer u.client.stirred()
	var err error
	if u.head || u.left > 0 {
		err = Errorf(CodeBadRequest, "%v", errTLVTruncated)
	} else {
		err = u.stream.Close()
	}
	if refusal := u.refuse(err); refusal != nil {
		return refusal
	}
	u.client.Changed(u.path)
	return &Message{Code: CodeChanged}
}

// Abort ends the upload: the peer has stopped sending.
func (u *Upload) Abort() { u.stream.Abort(ErrTimeout) }

func (u *Upload) refuse(err error) *Message {
	if err == nil {
		return nil
	}
	u.client.logger.Debug("refused a request", "path", u.path, "error", err)
	u.stream.Abort(err)
	return errorMessage(err)
}

// strip takes off the header of TLV, which names the resource and the length of
// what follows.
func (u *Upload) strip(b []byte) ([]byte, error) {
	if !u.tlv {
		return b, nil
	}
	if u.head {
		u.head = false
		kind, id, n, rest, err := tlvHead(b)
		if p, misplaced := tlvPath(u.path, kind, id); err != nil || misplaced != nil || p != u.path {
			return nil, Errorf(CodeBadRequest, "the payload is no TLV of %v", u.path)
		}
		b, u.left = rest, int64(n)
	}
	if u.left -= int64(len(b)); u.left < 0 {
		return nil, Errorf(CodeBadRequest, "the payload has more than one element")
	}
	return b, nil
}

// Upload implements [StreamHandler]: writes of what a [Streamer] streams.
func (c clientHandler) Upload(ctx context.Context, peer string, m *Message) (*Upload, *Message) {
	c.stirred()
	u, err := c.upload(ctx, peer, m)
	if err != nil {
		return nil, errorMessage(err)
	}
	return u, nil
}

func (c *Client) upload(ctx context.Context, peer string, m *Message) (*Upload, error) {
	p, err := pathFromSegments(m.Path)
	streamer, streams := c.objects[p.Object()].(Streamer)
	f := FormatOpaque
	if m.Format != nil {
		f = *m.Format
	}
	writes := m.Code == Put || m.Code == Post
	if err != nil || !streams || !writes || p.Depth() != DepthResource || f != FormatOpaque && f != FormatTLV {
		return nil, nil
	}
	if err := c.mayWrite(peer, m.Path); err != nil {
		return nil, err
	}
	s, err := streamer.Stream(ctx, p, m.Size)
	if s == nil || err != nil {
		return nil, err
	}
	return &Upload{client: c, path: p, stream: s, tlv: f == FormatTLV, head: f == FormatTLV}, nil
}

// mayWrite makes the checks that come before any write.
func (c *Client) mayWrite(peer string, segments []string) error {
	c.mu.Lock()
	known := c.peer == peer
	c.mu.Unlock()
	if !known {
		return Errorf(CodeUnauthorized, "this device belongs to another server")
	}
	p, err := c.target(segments)
	if err == nil && c.operations(p)&W == 0 {
		err = Errorf(CodeMethodNotAllowed, "%v cannot be written", p)
	}
	return err
}
