package lwm2m

import (
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Codecs of one value without a path: text, opaque and CBOR (OMA LwM2M 1.1
// sections 7.4.1 to 7.4.3).

func encodeSingle(f Format, records []Record) ([]byte, error) {
	if len(records) != 1 {
		return nil, Errorf(CodeNotAcceptable, "%v holds one value, not %d", f, len(records))
	}
	v := records[0].Value
	switch {
	case f == FormatText:
		return []byte(v.String()), nil
	case f == FormatOpaque && v.Kind() == KindOpaque:
		return v.Opaque(), nil
	case f == FormatCBOR:
		return cborEncoding.Marshal(cborValue(v))
	}
	return nil, Errorf(CodeNotAcceptable, "%v cannot hold a value of kind %v", f, v.Kind())
}

func decodeSingle(f Format, base Path, payload []byte, model Model) ([]Record, error) {
	v, err := decodeValue(f, payload, model.kind(base))
	if err != nil {
		return nil, err
	}
	return []Record{{Path: base, Value: v}}, nil
}

func decodeValue(f Format, payload []byte, kind Kind) (Value, error) {
	switch {
	case f == FormatText:
		return ParseValue(kind, string(payload))
	case f == FormatOpaque && (kind == KindOpaque || kind == KindNone):
		return Opaque(payload), nil
	case f == FormatCBOR:
		return decodeCBORValue(payload, kind)
	}
	return Value{}, errors.New("the resource is not opaque")
}

func decodeCBORValue(payload []byte, kind Kind) (Value, error) {
	var x any
	if err := cborDecoding.Unmarshal(payload, &x); err != nil {
		return Value{}, err
	}
	v, err := valueFromCBOR(x)
	if err != nil {
		return Value{}, err
	}
	if kind == KindLink && v.Kind() == KindString {
		return ParseValue(KindLink, v.Text())
	}
	return v.Convert(kind)
}

var (
	cborEncoding = mustEncMode(cbor.EncOptions{ShortestFloat: cbor.ShortestFloat16})
	cborDecoding = mustDecMode(cbor.DecOptions{MaxNestedLevels: 4, DupMapKey: cbor.DupMapKeyEnforcedAPF})
)

func mustEncMode(o cbor.EncOptions) cbor.EncMode {
	m, err := o.EncMode()
	if err != nil {
		panic(err)
	}
	return m
}

func mustDecMode(o cbor.DecOptions) cbor.DecMode {
	m, err := o.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}

// cborValue is what the cbor package encodes for v.
func cborValue(v Value) any {
	switch v.Kind() {
	case KindTime:
		return int64(v.bits)
	default:
		return v.Any()
	}
}

func valueFromCBOR(x any) (Value, error) {
	switch x := x.(type) {
	case string:
		return String(x), nil
	case []byte:
		return Opaque(x), nil
	case bool:
		return Bool(x), nil
	case int64:
		return Int(x), nil
	case float64:
		return Float(x), nil
	case uint64:
		if v, err := Uint(x).Convert(KindInteger); err == nil {
			return v, nil
		}
		return Uint(x), nil
	case time.Time: // tags 0 and 1, as some write resources of that type
		if x.IsZero() {
			return Value{}, errors.New("it is no time")
		}
		return Value{kind: KindTime, bits: uint64(x.Unix())}, nil
	case big.Int: // tags 2 and 3
		return parseJSONNumber(x.String())
	case cbor.Tag:
		return decimalFromCBOR(x)
	}
	return Value{}, errors.New("it is not a number, text, bytes or boolean")
}

// decimalFromCBOR reads a decimal fraction (RFC 8949 section 3.4.4), by which SenML may
// say a number.
func decimalFromCBOR(x cbor.Tag) (Value, error) {
	const decimalFraction = 4
	pair, _ := x.Content.([]any)
	if x.Number != decimalFraction || len(pair) != 2 {
		return Value{}, fmt.Errorf("nobody knows what is meant by tag %d", x.Number)
	}
	for _, part := range pair {
		switch part.(type) {
		case int64, uint64:
		default:
			return Value{}, errors.New("a decimal fraction is made of two integers")
		}
	}
	return parseJSONNumber(fmt.Sprintf("%de%d", pair[1], pair[0]))
}
