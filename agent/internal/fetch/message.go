package fetch

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"
)

// A block is the value of a Block2 option (RFC 7959 section 2.2).
type block struct {
	num  int64
	more bool
	szx  uint8 // the block has 16 << szx bytes
}

func (b block) size() int64   { return 16 << b.szx }
func (b block) offset() int64 { return b.num << (b.szx + 4) }

func (b block) encode() uint32 {
	v := uint32(b.num)<<4 | uint32(b.szx)
	if b.more {
		v |= 8
	}
	return v
}

func decodeBlock(v uint32) (block, error) {
	b := block{num: int64(v >> 4), more: v&8 != 0, szx: uint8(v & 7)}
	if b.szx == 7 || v > 0xffffff {
		return block{}, fmt.Errorf("malformed Block2 option %#x", v)
	}
	return b, nil
}

// options returns the options of a GET of r, without Block2.
func (r resource) options() message.Options {
	var opts message.Options
	for _, segment := range strings.Split(strings.Trim(r.path, "/"), "/") {
		opts = opts.Add(message.Option{ID: message.URIPath, Value: []byte(segment)})
	}
	for _, key := range sortedKeys(r.query) {
		for _, value := range r.query[key] {
			opts = opts.Add(message.Option{ID: message.URIQuery, Value: []byte(key + "=" + value)})
		}
	}
	return opts
}

func sortedKeys(q url.Values) []string {
	keys := make([]string, 0, len(q))
	for k := range q {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// optionEcho is the number of the Echo option (RFC 9175 section 2.2), of up to 40
// bytes.
const (
	optionEcho = message.OptionID(252)
	maxEcho    = 40
)

// encodeRequest writes a confirmable GET of one block. Without an echo there is no
// such option.
func encodeRequest(opts message.Options, echo []byte, b block, mid int32, token []byte) ([]byte, error) {
	value := make([]byte, 4)
	n, err := message.EncodeUint32(value, b.encode())
	if err != nil {
		return nil, err
	}
	opts = slices.Clone(opts).Set(message.Option{ID: message.Block2, Value: value[:n]})
	if len(echo) > 0 {
		opts = opts.Set(message.Option{ID: optionEcho, Value: echo})
	}
	return encode(message.Message{Type: message.Confirmable, Code: codes.GET, MessageID: mid, Token: token, Options: opts})
}

// encodeAck acknowledges a message that the server wants acknowledged.
func encodeAck(mid int32) ([]byte, error) {
	return encode(message.Message{Type: message.Acknowledgement, Code: codes.Empty, MessageID: mid})
}

func encode(m message.Message) ([]byte, error) {
	buf := make([]byte, 1500)
	n, err := coder.DefaultCoder.Encode(m, buf)
	if err != nil {
		return nil, fmt.Errorf("cannot encode CoAP message: %w", err)
	}
	return buf[:n], nil
}

// An answer is a datagram of the server, decoded.
type answer struct {
	typ     message.Type
	mid     int32
	code    codes.Code
	token   []byte
	etag    string
	echo    []byte // to be shown to the server in the next request
	block   *block // nil: the payload is all there is
	size    int64  // of the whole, by Size2; -1 if the server does not say
	payload []byte
}

// parseAnswer decodes a datagram. The answer refers to b.
func parseAnswer(b []byte) (answer, error) {
	m := message.Message{Options: make(message.Options, 0, 16)}
	if _, err := coder.DefaultCoder.Decode(b, &m); err != nil {
		return answer{}, fmt.Errorf("malformed CoAP message: %w", err)
	}
	a := answer{typ: m.Type, mid: m.MessageID, code: m.Code, token: m.Token, payload: m.Payload, size: -1}
	if etag, err := m.Options.GetBytes(message.ETag); err == nil {
		a.etag = string(etag)
	}
	if echo, err := m.Options.GetBytes(optionEcho); err == nil && len(echo) <= maxEcho {
		a.echo = echo
	}
	if size, err := m.Options.GetUint32(message.Size2); err == nil {
		a.size = int64(size)
	}
	switch v, err := m.Options.GetUint32(message.Block2); {
	case errors.Is(err, message.ErrOptionNotFound):
	case err != nil:
		return answer{}, fmt.Errorf("malformed Block2 option: %w", err)
	default:
		bl, err := decodeBlock(v)
		if err != nil {
			return answer{}, err
		}
		a.block = &bl
	}
	return a, nil
}
