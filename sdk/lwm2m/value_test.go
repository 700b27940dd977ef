package lwm2m

import (
	"math"
	"testing"
	"time"
)

func TestParseValueReadsString(t *testing.T) {
	for _, v := range []Value{
		String("ä \"quoted\""), String(""), Int(math.MinInt64), Int(9007199254740993), Uint(math.MaxUint64),
		Float(0.1), Float(-1e300), Float(21), Bool(true), Bool(false), Opaque([]byte{0, 255}), Opaque(nil),
		Time(time.Date(2026, 11, 22, 8, 0, 4, 0, time.UTC)), Time(time.Time{}), ObjectLink(3, 0), ObjectLink(65535, 65535),
	} {
		got, err := ParseValue(v.Kind(), v.String())
		if err != nil || got != v {
			t.Errorf("ParseValue(%v, %q) = %v, %v", v.Kind(), v.String(), got, err)
		}
	}
}

func TestConvert(t *testing.T) {
	tests := []struct {
		in, want Value // want of KindNone: an error
		kind     Kind
	}{
		{Int(21), Float(21), KindFloat},
		{Float(21), Int(21), KindInteger},
		{Float(21.5), Value{}, KindInteger},
		{Float(math.NaN()), Value{}, KindInteger},
		{Float(math.Inf(1)), Value{}, KindUnsigned},
		{Float(1 << 63), Value{}, KindInteger},
		{Float(1 << 63), Uint(1 << 63), KindUnsigned},
		{Int(9007199254740993), Value{}, KindFloat},
		{Int(-1), Value{}, KindUnsigned},
		{Uint(math.MaxUint64), Value{}, KindInteger},
		{Uint(7), Int(7), KindInteger},
		{Int(1767225600), Time(time.Unix(1767225600, 0)), KindTime},
		{String("1"), Value{}, KindInteger},
		{Bool(true), Value{}, KindInteger},
		{String("x"), String("x"), KindNone},
	}
	for _, tt := range tests {
		got, err := tt.in.Convert(tt.kind)
		if (err != nil) != (tt.want.Kind() == KindNone) || got != tt.want {
			t.Errorf("%v %v to %v: %v %v, %v", tt.in.Kind(), tt.in, tt.kind, got.Kind(), got, err)
		}
	}
}

func TestAccessorsOfOtherKinds(t *testing.T) {
	v := String("5")
	if v.Int() != 0 || v.Uint() != 0 || v.Float() != 0 || v.Bool() || v.Opaque() != nil || !v.Time().IsZero() {
		t.Error("an accessor of another kind must give its zero value")
	}
	if Int(5).Float() != 5 || Int(5).Uint() != 5 || Uint(5).Int() != 5 {
		t.Error("numbers can be read as each other")
	}
}
