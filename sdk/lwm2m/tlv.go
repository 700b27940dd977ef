package lwm2m

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// The TLV format (OMA LwM2M 1.1 section 7.4.3): the first byte has the type of
// the identifier (bits 7-6), whether the identifier has two bytes (bit 5), and
// the length of the length (bits 4-3) or the length itself (bits 2-0).
const (
	tlvInstance         = 0
	tlvResourceInstance = 1
	tlvMultiple         = 2
	tlvResource         = 3
)

func encodeTLV(base Path, records []Record) ([]byte, error) {
	sorted := slices.SortedStableFunc(slices.Values(records), func(a, b Record) int { return a.Path.Compare(b.Path) })
	if base.Depth() == DepthRoot {
		return nil, Errorf(CodeNotAcceptable, "TLV cannot hold several objects")
	}
	depth := base.Depth()
	if depth >= DepthResource { // a resource is written with its own header
		depth--
	}
	return appendTLVs(nil, depth, sorted)
}

// appendTLVs writes the elements one level below depth. Records are sorted and
// agree in their first depth ids.
func appendTLVs(b []byte, depth int, records []Record) ([]byte, error) {
	for len(records) > 0 {
		p := records[0].Path.Prefix(depth + 1)
		n := slices.IndexFunc(records, func(r Record) bool { return !p.Contains(r.Path) })
		if n < 0 {
			n = len(records)
		}
		kind, content, err := tlvContent(p, records[:n])
		if err != nil {
			return nil, err
		}
		if b, err = appendTLV(b, kind, p.ids[depth], content); err != nil {
			return nil, err
		}
		records = records[n:]
	}
	return b, nil
}

// tlvContent is the element for p: its type and its value.
func tlvContent(p Path, records []Record) (kind byte, content []byte, err error) {
	if records[0].Path == p {
		kind = tlvResource
		if p.Depth() == DepthResourceInstance {
			kind = tlvResourceInstance
		}
		return kind, tlvValue(records[0].Value), nil
	}
	if p.Depth() == DepthResource {
		kind = tlvMultiple
	}
	content, err = appendTLVs(nil, p.Depth(), records)
	return kind, content, err
}

func appendTLV(b []byte, kind byte, id uint16, content []byte) ([]byte, error) {
	head := kind << 6
	if id > math.MaxUint8 {
		head |= 1 << 5
	}
	n := len(content)
	var length []byte
	switch {
	case n < 8:
		head |= byte(n)
	case n <= math.MaxUint8:
		head, length = head|1<<3, []byte{byte(n)}
	case n <= math.MaxUint16:
		head, length = head|2<<3, binary.BigEndian.AppendUint16(nil, uint16(n))
	case n < 1<<24:
		head, length = head|3<<3, []byte{byte(n >> 16), byte(n >> 8), byte(n)}
	default:
		return nil, Errorf(CodeTooLarge, "TLV cannot hold %d bytes in one element", n)
	}
	b = append(b, head)
	if id > math.MaxUint8 {
		b = append(b, byte(id>>8))
	}
	b = append(b, byte(id))
	return append(append(b, length...), content...), nil
}

func tlvValue(v Value) []byte {
	switch v.Kind() {
	case KindInteger, KindTime:
		return tlvInteger(int64(v.bits))
	case KindUnsigned:
		if v.bits > math.MaxInt64 {
			return binary.BigEndian.AppendUint64(nil, v.bits)
		}
		return tlvUnsigned(v.bits)
	case KindFloat:
		if f := v.Float(); float64(float32(f)) == f {
			return binary.BigEndian.AppendUint32(nil, math.Float32bits(float32(f)))
		}
		return binary.BigEndian.AppendUint64(nil, v.bits)
	case KindBoolean:
		return []byte{byte(v.bits)}
	case KindLink:
		return binary.BigEndian.AppendUint32(nil, uint32(v.bits))
	}
	return []byte(v.text)
}

func tlvInteger(i int64) []byte {
	switch {
	case i == int64(int8(i)):
		return []byte{byte(i)}
	case i == int64(int16(i)):
		return binary.BigEndian.AppendUint16(nil, uint16(i))
	case i == int64(int32(i)):
		return binary.BigEndian.AppendUint32(nil, uint32(i))
	}
	return binary.BigEndian.AppendUint64(nil, uint64(i))
}

func tlvUnsigned(u uint64) []byte {
	switch {
	case u <= math.MaxUint8:
		return []byte{byte(u)}
	case u <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(nil, uint16(u))
	case u <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(nil, uint32(u))
	}
	return binary.BigEndian.AppendUint64(nil, u)
}

var errTLVTruncated = errors.New("an element is truncated")

func decodeTLV(base Path, payload []byte, model Model) ([]Record, error) {
	if base.Depth() == DepthRoot {
		return nil, errors.New("TLV cannot hold several objects")
	}
	d := tlvDecoder{model: model}
	err := d.elements(base, payload)
	return d.records, err
}

type tlvDecoder struct {
	model   Model
	records []Record
}

// elements reads all elements of b, which belong to base.
func (d *tlvDecoder) elements(base Path, b []byte) error {
	for len(b) > 0 {
		kind, id, content, rest, err := splitTLV(b)
		if err != nil {
			return err
		}
		p, err := tlvPath(base, kind, id)
		if err != nil {
			return err
		}
		if kind == tlvInstance || kind == tlvMultiple {
			err = d.elements(p, content)
		} else {
			err = d.value(p, content)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// tlvHead reads the header of an element of n bytes; rest comes after it.
func tlvHead(b []byte) (kind byte, id uint16, n int, rest []byte, err error) {
	if len(b) == 0 {
		return 0, 0, 0, nil, errTLVTruncated
	}
	head := b[0]
	idLen, lenLen := int(head>>5&1)+1, int(head>>3&3)
	if len(b) < 1+idLen+lenLen {
		return 0, 0, 0, nil, errTLVTruncated
	}
	id = uint16(bigEndian(b[1 : 1+idLen]))
	n = int(head & 7)
	b = b[1+idLen:]
	if lenLen > 0 {
		n = int(bigEndian(b[:lenLen]))
		b = b[lenLen:]
	}
	if id == math.MaxUint16 {
		err = errTLVTruncated
	}
	return head >> 6, id, n, b, err
}

func splitTLV(b []byte) (kind byte, id uint16, content, rest []byte, err error) {
	kind, id, n, b, err := tlvHead(b)
	if err != nil || len(b) < n {
		return 0, 0, nil, nil, errTLVTruncated
	}
	return kind, id, b[:n], b[n:], nil
}

// tlvPath places an element found under base. The element may repeat the last
// ids of base, or leave out instance 0 of a single-instance object.
func tlvPath(base Path, kind byte, id uint16) (Path, error) {
	want := []int{tlvInstance: DepthInstance, tlvResourceInstance: DepthResourceInstance, tlvMultiple: DepthResource, tlvResource: DepthResource}[kind]
	if want == DepthResource && base.Depth() == DepthObject {
		base = base.Child(0)
	}
	switch {
	case base.Depth() == want-1:
		return base.Child(id), nil
	case base.Depth() >= want && base.ids[want-1] == id:
		return base.Prefix(want), nil
	}
	return Path{}, fmt.Errorf("an element of type %d with id %d does not belong under %v", kind, id, base)
}

func (d *tlvDecoder) value(p Path, content []byte) error {
	v, err := parseTLVValue(d.model.kind(p), content)
	if err != nil {
		return fmt.Errorf("%v: %w", p, err)
	}
	d.records = append(d.records, Record{Path: p, Value: v})
	return nil
}

func parseTLVValue(kind Kind, b []byte) (Value, error) {
	switch n := len(b); kind {
	case KindString:
		return String(string(b)), nil
	case KindInteger, KindTime:
		if n == 1 || n == 2 || n == 4 || n == 8 {
			shift := 64 - 8*n
			return Value{kind: kind, bits: uint64(int64(bigEndian(b)<<shift) >> shift)}, nil
		}
	case KindUnsigned:
		if n == 1 || n == 2 || n == 4 || n == 8 {
			return Uint(bigEndian(b)), nil
		}
	case KindFloat:
		if n == 4 {
			return Float(float64(math.Float32frombits(uint32(bigEndian(b))))), nil
		}
		if n == 8 {
			return Float(math.Float64frombits(bigEndian(b))), nil
		}
	case KindBoolean:
		if n == 1 && b[0] <= 1 {
			return Bool(b[0] == 1), nil
		}
	case KindLink:
		if n == 4 {
			return Value{kind: kind, bits: bigEndian(b)}, nil
		}
	default:
		return Opaque(b), nil
	}
	return Value{}, fmt.Errorf("%d bytes are no %v", len(b), kind)
}

func bigEndian(b []byte) uint64 {
	var u uint64
	for _, c := range b {
		u = u<<8 | uint64(c)
	}
	return u
}
