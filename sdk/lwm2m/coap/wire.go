package coap

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// maxOptions bounds the options of one received message.
const maxOptions = 64

// A codec writes and reads messages: as datagrams, or as frames.
type codec interface {
	Size(message.Message) (int, error)
	Encode(message.Message, []byte) (int, error)
	Decode([]byte, *message.Message) (int, error)
}

func encode(c codec, m message.Message) ([]byte, error) {
	size, err := c.Size(m)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	_, err = c.Encode(m, b)
	return b, err
}

// decode reads a message, which shares the bytes.
func decode(c codec, b []byte) (message.Message, error) {
	m := message.Message{Options: make(message.Options, 0, maxOptions)}
	_, err := c.Decode(b, &m)
	return m, err
}

func marshal(m message.Message) ([]byte, error)   { return encode(coder.DefaultCoder, m) }
func unmarshal(b []byte) (message.Message, error) { return decode(coder.DefaultCoder, b) }

func toWire(m *lwm2m.Message) message.Message {
	var o message.Options
	if m.Observe != nil {
		o = addUint(o, message.Observe, *m.Observe)
	}
	o = addStrings(o, message.LocationPath, m.Location)
	o = addStrings(o, message.URIPath, m.Path)
	if m.Format != nil {
		o = addUint(o, message.ContentFormat, uint32(*m.Format))
	}
	o = addStrings(o, message.URIQuery, m.Query)
	if m.Accept != nil {
		o = addUint(o, message.Accept, uint32(*m.Accept))
	}
	return message.Message{Code: codes.Code(m.Code), Token: m.Token, Options: o, Payload: m.Payload}
}

func addStrings(o message.Options, id message.OptionID, values []string) message.Options {
	for _, v := range values {
		o = o.Add(message.Option{ID: id, Value: []byte(v)})
	}
	return o
}

// addUint adds a number in as few bytes as it needs (RFC 7252 section 3.2).
func addUint(o message.Options, id message.OptionID, v uint32) message.Options {
	b := binary.BigEndian.AppendUint32(nil, v)
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return o.Add(message.Option{ID: id, Value: b})
}

var errCriticalOption = errors.New("a critical option is not understood")

// fromWire copies a received message.
func fromWire(m message.Message) (*lwm2m.Message, error) {
	out := &lwm2m.Message{Code: lwm2m.Code(m.Code), Token: clone(m.Token), Payload: clone(m.Payload)}
	for _, o := range m.Options {
		switch o.ID {
		case message.URIPath:
			out.Path = append(out.Path, string(o.Value))
		case message.URIQuery:
			out.Query = append(out.Query, string(o.Value))
		case message.LocationPath:
			out.Location = append(out.Location, string(o.Value))
		case message.ContentFormat:
			out.Format = format(o.Value)
		case message.Accept:
			out.Accept = format(o.Value)
		case message.Observe:
			v := uint32(number(o.Value))
			out.Observe = &v
		case message.Size1:
			out.Size = int64(uint32(number(o.Value)))
		case message.URIHost, message.URIPort, message.Block1, message.Block2:
		default:
			if o.ID&1 == 1 {
				return nil, fmt.Errorf("%w: %v", errCriticalOption, uint16(o.ID))
			}
		}
	}
	return out, nil
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }

func format(b []byte) *lwm2m.Format {
	f := lwm2m.Format(number(b))
	return &f
}

func number(b []byte) uint64 {
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}
