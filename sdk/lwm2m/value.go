package lwm2m

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Kind is the type of a resource's value (OMA LwM2M 1.1 appendix C).
type Kind uint8

// The kinds of values.
const (
	KindNone     Kind = iota // no value: the zero Value, and resources that are only executable
	KindString               // UTF-8 text
	KindInteger              // 64-bit signed
	KindUnsigned             // 64-bit unsigned
	KindFloat                // 64-bit
	KindBoolean
	KindOpaque // bytes
	KindTime   // seconds since 1970-01-01 UTC
	KindLink   // object link: object id and instance id
)

var kindNames = [...]string{"none", "string", "integer", "unsigned", "float", "boolean", "opaque", "time", "object link"}

// String is the kind's name as the OMA registry writes it, in lower case.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Value is one typed value. Integers are exact over all 64 bits. Values are
// comparable with ==. The zero Value has KindNone.
type Value struct {
	kind Kind
	bits uint64 // integers, float bits, bool, time in seconds, link
	text string // string and opaque
}

// String makes a text value.
func String(s string) Value { return Value{kind: KindString, text: s} }

// Int makes a signed integer value.
func Int(i int64) Value { return Value{kind: KindInteger, bits: uint64(i)} }

// Uint makes an unsigned integer value.
func Uint(u uint64) Value { return Value{kind: KindUnsigned, bits: u} }

// Float makes a floating point value.
func Float(f float64) Value { return Value{kind: KindFloat, bits: math.Float64bits(f)} }

// Bool makes a boolean value.
func Bool(b bool) Value {
	v := Value{kind: KindBoolean}
	if b {
		v.bits = 1
	}
	return v
}

// Opaque makes a value of bytes; b is copied.
func Opaque(b []byte) Value { return Value{kind: KindOpaque, text: string(b)} }

// Time makes a time value; LwM2M keeps whole seconds, so t is cut to them. The
// zero time becomes 0 seconds, which stands for "no time".
func Time(t time.Time) Value {
	if t.IsZero() {
		return Value{kind: KindTime}
	}
	return Value{kind: KindTime, bits: uint64(t.Unix())}
}

// ObjectLink makes a link to an object instance. 65535 and 65535 is the null link.
func ObjectLink(object, instance uint16) Value {
	return Value{kind: KindLink, bits: uint64(object)<<16 | uint64(instance)}
}

// Kind tells which of the accessors below holds the value.
func (v Value) Kind() Kind { return v.kind }

// Text is the text of a KindString, else "".
func (v Value) Text() string {
	if v.kind != KindString {
		return ""
	}
	return v.text
}

// Int is the number of a KindInteger, or of a KindUnsigned that fits, else 0.
func (v Value) Int() int64 {
	w, err := v.Convert(KindInteger)
	if err != nil {
		return 0
	}
	return int64(w.bits)
}

// Uint is the number of a KindUnsigned, or of a KindInteger that fits, else 0.
func (v Value) Uint() uint64 {
	w, err := v.Convert(KindUnsigned)
	if err != nil {
		return 0
	}
	return w.bits
}

// Float is the number of a KindFloat or, rounded, of an integer, else 0.
func (v Value) Float() float64 {
	switch v.kind {
	case KindFloat:
		return math.Float64frombits(v.bits)
	case KindInteger:
		return float64(int64(v.bits))
	case KindUnsigned:
		return float64(v.bits)
	}
	return 0
}

// Bool is the truth of a KindBoolean, else false.
func (v Value) Bool() bool { return v.kind == KindBoolean && v.bits == 1 }

// Opaque is the bytes of a KindOpaque, else nil.
func (v Value) Opaque() []byte {
	if v.kind != KindOpaque {
		return nil
	}
	return []byte(v.text)
}

// Time is the time of a KindTime in UTC; the zero time for 0 seconds and for
// other kinds.
func (v Value) Time() time.Time {
	if v.kind != KindTime || v.bits == 0 {
		return time.Time{}
	}
	return time.Unix(int64(v.bits), 0).UTC()
}

// ObjectLink is the target of a KindLink, else 0, 0.
func (v Value) ObjectLink() (object, instance uint16) {
	if v.kind != KindLink {
		return 0, 0
	}
	return uint16(v.bits >> 16), uint16(v.bits)
}

// Any is the value as Go has it: string, int64, uint64, float64, bool, []byte or
// time.Time; an object link is its text "3:0", no value is nil.
func (v Value) Any() any {
	switch v.kind {
	case KindString:
		return v.text
	case KindInteger:
		return int64(v.bits)
	case KindUnsigned:
		return v.bits
	case KindFloat:
		return v.Float()
	case KindBoolean:
		return v.Bool()
	case KindOpaque:
		return []byte(v.text)
	case KindTime:
		return v.Time()
	case KindLink:
		return v.String()
	}
	return nil
}

// String is the plain text form (OMA LwM2M 1.1 appendix C.1): opaque in base64,
// time in seconds, an object link as "3:0", a boolean as 0 or 1. [ParseValue]
// reads it back.
func (v Value) String() string {
	switch v.kind {
	case KindString:
		return v.text
	case KindInteger, KindTime:
		return strconv.FormatInt(int64(v.bits), 10)
	case KindUnsigned:
		return strconv.FormatUint(v.bits, 10)
	case KindFloat:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case KindBoolean:
		return strconv.FormatUint(v.bits, 10)
	case KindOpaque:
		return base64.StdEncoding.EncodeToString([]byte(v.text))
	case KindLink:
		o, i := v.ObjectLink()
		return fmt.Sprintf("%d:%d", o, i)
	}
	return ""
}

// ParseValue reads the plain text form of a value of the given kind, as
// [Value.String] writes it; a boolean may also be "true" or "false". KindNone
// gives a text value.
func ParseValue(kind Kind, text string) (Value, error) {
	v, err := parseValue(kind, text)
	if err != nil {
		return Value{}, fmt.Errorf("cannot read %.40q as %v: %w", text, kind, err)
	}
	return v, nil
}

func parseValue(kind Kind, text string) (Value, error) {
	switch kind {
	case KindInteger, KindTime:
		i, err := strconv.ParseInt(text, 10, 64)
		return Value{kind: kind, bits: uint64(i)}, err
	case KindUnsigned:
		u, err := strconv.ParseUint(text, 10, 64)
		return Uint(u), err
	case KindFloat:
		f, err := strconv.ParseFloat(text, 64)
		return Float(f), err
	case KindBoolean:
		switch text {
		case "1", "true":
			return Bool(true), nil
		case "0", "false":
			return Bool(false), nil
		}
		return Value{}, fmt.Errorf("want 0 or 1")
	case KindOpaque:
		b, err := base64.StdEncoding.DecodeString(text)
		return Opaque(b), err
	case KindLink:
		return parseLink(text)
	}
	return String(text), nil
}

func parseLink(text string) (Value, error) {
	left, right, ok := strings.Cut(text, ":")
	if !ok {
		return Value{}, fmt.Errorf("want object:instance")
	}
	object, err := strconv.ParseUint(left, 10, 16)
	if err != nil {
		return Value{}, err
	}
	instance, err := strconv.ParseUint(right, 10, 16)
	return ObjectLink(uint16(object), uint16(instance)), err
}

// Convert gives the same value as another kind, if nothing is lost: between the
// number kinds and time. A decoder uses it to give a number the kind that the
// resource's definition asks for.
func (v Value) Convert(kind Kind) (Value, error) {
	if v.kind == kind || kind == KindNone {
		return v, nil
	}
	if w, ok := v.convertNumber(kind); ok {
		return w, nil
	}
	return Value{}, fmt.Errorf("cannot convert %v %.40q to %v without loss", v.kind, v.String(), kind)
}

func (v Value) convertNumber(kind Kind) (Value, bool) {
	switch kind {
	case KindFloat:
		f := v.Float()
		w, ok := Float(f).convertNumber(v.kind)
		return Float(f), ok && w.bits == v.bits
	case KindInteger, KindTime:
		switch v.kind {
		case KindInteger, KindTime:
			return Value{kind: kind, bits: v.bits}, true
		case KindUnsigned:
			return Value{kind: kind, bits: v.bits}, v.bits <= math.MaxInt64
		case KindFloat:
			f := v.Float()
			ok := f == math.Trunc(f) && f >= -(1<<63) && f < 1<<63
			return Value{kind: kind, bits: uint64(int64(f))}, ok
		}
	case KindUnsigned:
		switch v.kind {
		case KindInteger, KindTime:
			return Uint(v.bits), int64(v.bits) >= 0
		case KindFloat:
			f := v.Float()
			ok := f == math.Trunc(f) && f >= 0 && f < 1<<64
			if !ok {
				return Value{}, false
			}
			return Uint(uint64(f)), true
		}
	}
	return Value{}, false
}
