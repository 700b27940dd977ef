package lwm2m

import (
	"bytes"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// cborEntry is a SenML entry in CBOR, with the labels of RFC 8428 section 6 and
// LwM2M's "vlo".
type cborEntry struct {
	BaseName  string          `cbor:"-2,keyasint,omitempty"`
	Version   float64         `cbor:"-1,keyasint,omitempty"`
	BaseTime  float64         `cbor:"-3,keyasint,omitempty"`
	BaseValue cbor.RawMessage `cbor:"-5,keyasint,omitempty"`
	BaseSum   cbor.RawMessage `cbor:"-6,keyasint,omitempty"`
	Name      string          `cbor:"0,keyasint,omitempty"`
	Time      float64         `cbor:"6,keyasint,omitempty"`
	Number    any             `cbor:"2,keyasint,omitempty"`
	Text      *string         `cbor:"3,keyasint,omitempty"`
	Boolean   *bool           `cbor:"4,keyasint,omitempty"`
	Data      *[]byte         `cbor:"8,keyasint,omitempty"`
	Link      *string         `cbor:"vlo,omitempty"`
}

func encodeSenMLCBOR(base Path, records []Record) ([]byte, error) {
	entries := make([]cborEntry, 0, len(records))
	for _, e := range senmlEntries(base, records) {
		entries = append(entries, newCBOREntry(e))
	}
	return cborEncoding.Marshal(entries)
}

func newCBOREntry(e senmlEntry) cborEntry {
	c := cborEntry{BaseName: e.baseName, Name: e.name, Time: e.time}
	switch v := e.value; v.Kind() {
	case KindString:
		c.Text = new(v.Text())
	case KindBoolean:
		c.Boolean = new(v.Bool())
	case KindOpaque:
		c.Data = new(v.Opaque())
	case KindLink:
		c.Link = new(v.String())
	default:
		c.Number = cborValue(v)
	}
	return c
}

func decodeSenMLCBOR(payload []byte, model Model) ([]Record, error) {
	entries, err := parseSenMLCBOR(payload)
	if err != nil {
		return nil, err
	}
	return senmlRecords(entries, model)
}

func parseSenMLCBOR(payload []byte) ([]senmlEntry, error) {
	var list []cborEntry
	if err := cborDecoding.Unmarshal(payload, &list); err != nil {
		return nil, err
	}
	if err := checkCBORNames(payload); err != nil {
		return nil, err
	}
	entries := make([]senmlEntry, 0, len(list))
	for _, c := range list {
		v, err := c.value()
		if err != nil {
			return nil, err
		}
		if c.Version > senmlVersion {
			return nil, errSenMLVersion
		}
		if c.BaseValue != nil || c.BaseSum != nil {
			return nil, errSenMLBaseValue
		}
		entries = append(entries, senmlEntry{baseName: c.BaseName, baseTime: c.BaseTime, name: c.Name, time: c.Time, value: v})
	}
	return entries, nil
}

// checkCBORNames looks for labels that have to be understood, which are rare.
func checkCBORNames(payload []byte) error {
	if !bytes.Contains(payload, []byte("_")) {
		return nil
	}
	var list []map[any]cbor.RawMessage
	if err := cborDecoding.Unmarshal(payload, &list); err != nil {
		return err
	}
	for _, fields := range list {
		for label := range fields {
			if name, is := label.(string); is && strings.HasSuffix(name, "_") {
				return errSenMLMust
			}
		}
	}
	return nil
}

func (c cborEntry) value() (v Value, err error) {
	found := 0
	take := func(w Value, e error) { v, err = w, e; found++ }
	if c.Number != nil {
		take(numberFromCBOR(c.Number))
	}
	if c.Text != nil {
		take(String(*c.Text), nil)
	}
	if c.Boolean != nil {
		take(Bool(*c.Boolean), nil)
	}
	if c.Data != nil {
		take(Opaque(*c.Data), nil)
	}
	if c.Link != nil {
		take(ParseValue(KindLink, *c.Link))
	}
	if found > 1 {
		return Value{}, errSenMLTwoValues
	}
	return v, err
}

func numberFromCBOR(x any) (Value, error) {
	v, err := valueFromCBOR(x)
	if err != nil {
		return Value{}, err
	}
	if _, err := v.Convert(KindFloat); err != nil && v.Kind() != KindInteger && v.Kind() != KindUnsigned && v.Kind() != KindTime {
		return Value{}, errSenMLNumber
	}
	return v, nil
}
