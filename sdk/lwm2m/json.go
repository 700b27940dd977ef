package lwm2m

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
)

// The JSON of LwM2M 1.0 (OMA-TS-LightweightM2M-V1_0 section 6.4.4), which 1.1
// keeps for devices of 1.0: an early SenML. It has no bytes, so opaque values are
// base64 in "sv", and who decodes them must know that the resource is opaque.
type jsonDocument struct {
	BaseName string        `json:"bn,omitempty"`
	BaseTime float64       `json:"bt,omitempty"`
	Entries  *[]jsonRecord `json:"e"`
}

type jsonRecord struct {
	Name    string      `json:"n,omitempty"`
	Time    float64     `json:"t,omitempty"`
	Number  json.Number `json:"v,omitempty"`
	Boolean *bool       `json:"bv,omitempty"`
	Link    *string     `json:"ov,omitempty"`
	Text    *string     `json:"sv,omitempty"`
}

func encodeJSON(base Path, records []Record) ([]byte, error) {
	list := make([]jsonRecord, 0, len(records))
	document := jsonDocument{Entries: &list}
	for i, e := range senmlEntries(base, records) {
		if i == 0 {
			document.BaseName = e.baseName
		}
		r := jsonRecord{Name: e.name, Time: e.time}
		switch v := e.value; v.Kind() {
		case KindBoolean:
			r.Boolean = new(v.Bool())
		case KindLink:
			r.Link = new(v.String())
		case KindString, KindOpaque: // the text form of bytes is base64
			r.Text = new(v.String())
		default:
			if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
				return nil, Errorf(CodeNotAcceptable, "JSON has no %v", f)
			}
			r.Number = json.Number(v.String())
		}
		list = append(list, r)
	}
	return json.Marshal(document)
}

func decodeJSON(payload []byte, model Model) ([]Record, error) {
	var document jsonDocument
	d := json.NewDecoder(bytes.NewReader(payload))
	if err := d.Decode(&document); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the object")
	}
	if document.Entries == nil {
		return nil, errors.New("there is no list of entries")
	}
	entries := make([]senmlEntry, 0, len(*document.Entries))
	for i, r := range *document.Entries {
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		p, err := ParsePath(document.BaseName + r.Name)
		if err != nil {
			return nil, err
		}
		if v, err = opaqueFromText(v, model.kind(p)); err != nil {
			return nil, err
		}
		e := senmlEntry{name: r.Name, time: r.Time, value: v}
		if i == 0 {
			e.baseName, e.baseTime = document.BaseName, document.BaseTime
		}
		entries = append(entries, e)
	}
	return senmlRecords(entries, model)
}

func (r jsonRecord) value() (v Value, err error) {
	found := 0
	take := func(w Value, e error) { v, err = w, e; found++ }
	if r.Number != "" {
		take(parseJSONNumber(string(r.Number)))
	}
	if r.Boolean != nil {
		take(Bool(*r.Boolean), nil)
	}
	if r.Link != nil {
		take(ParseValue(KindLink, *r.Link))
	}
	if r.Text != nil {
		take(String(*r.Text), nil)
	}
	if found > 1 {
		return Value{}, errSenMLTwoValues
	}
	return v, err
}

func opaqueFromText(v Value, kind Kind) (Value, error) {
	if kind != KindOpaque || v.Kind() != KindString {
		return v, nil
	}
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(v.Text(), "="))
	return Opaque(b), err
}
