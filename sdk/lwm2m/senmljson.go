package lwm2m

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// jsonEntry is a SenML entry in JSON. Numbers stay text, so that 64 bits are
// exact.
type jsonEntry struct {
	BaseName  string          `json:"bn,omitempty"`
	Version   float64         `json:"bver,omitempty"`
	BaseTime  float64         `json:"bt,omitempty"`
	BaseValue json.RawMessage `json:"bv,omitempty"`
	BaseSum   json.RawMessage `json:"bs,omitempty"`
	Name      string          `json:"n,omitempty"`
	Time      float64         `json:"t,omitempty"`
	Number    json.Number     `json:"v,omitempty"`
	Text      *string         `json:"vs,omitempty"`
	Boolean   *bool           `json:"vb,omitempty"`
	Data      *string         `json:"vd,omitempty"`
	Link      *string         `json:"vlo,omitempty"`
}

func encodeSenMLJSON(base Path, records []Record) ([]byte, error) {
	entries := make([]jsonEntry, 0, len(records))
	for _, e := range senmlEntries(base, records) {
		j, err := newJSONEntry(e)
		if err != nil {
			return nil, err
		}
		entries = append(entries, j)
	}
	return json.Marshal(entries)
}

func newJSONEntry(e senmlEntry) (jsonEntry, error) {
	j := jsonEntry{BaseName: e.baseName, Name: e.name, Time: e.time}
	switch v := e.value; v.Kind() {
	case KindString:
		j.Text = new(v.Text())
	case KindBoolean:
		j.Boolean = new(v.Bool())
	case KindOpaque:
		j.Data = new(base64.RawURLEncoding.EncodeToString(v.Opaque()))
	case KindLink:
		j.Link = new(v.String())
	case KindFloat:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return j, Errorf(CodeNotAcceptable, "JSON has no %v", f)
		}
		j.Number = json.Number(v.String())
	default:
		j.Number = json.Number(v.String())
	}
	return j, nil
}

func decodeSenMLJSON(payload []byte, model Model) ([]Record, error) {
	entries, err := parseSenMLJSON(payload)
	if err != nil {
		return nil, err
	}
	return senmlRecords(entries, model)
}

func parseSenMLJSON(payload []byte) ([]senmlEntry, error) {
	var list []jsonEntry
	d := json.NewDecoder(bytes.NewReader(payload))
	if err := d.Decode(&list); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the list")
	}
	if err := checkJSONNames(payload); err != nil {
		return nil, err
	}
	entries := make([]senmlEntry, 0, len(list))
	for _, j := range list {
		v, err := j.value()
		if err != nil {
			return nil, err
		}
		if j.Version > senmlVersion {
			return nil, errSenMLVersion
		}
		if j.BaseValue != nil || j.BaseSum != nil {
			return nil, errSenMLBaseValue
		}
		entries = append(entries, senmlEntry{baseName: j.BaseName, baseTime: j.BaseTime, name: j.Name, time: j.Time, value: v})
	}
	return entries, nil
}

// checkJSONNames looks for names that have to be understood, which are rare.
func checkJSONNames(payload []byte) error {
	if !bytes.Contains(payload, []byte(`_"`)) {
		return nil
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(payload, &list); err != nil {
		return err
	}
	for _, fields := range list {
		for name := range fields {
			if strings.HasSuffix(name, "_") {
				return errSenMLMust
			}
		}
	}
	return nil
}

var (
	errSenMLBaseValue = errors.New("base values are not supported")
	errSenMLTwoValues = errors.New("an entry has more than one value")
	errSenMLNumber    = errors.New("the label of numbers has something else")
)

func (j jsonEntry) value() (v Value, err error) {
	found := 0
	take := func(w Value, e error) { v, err = w, e; found++ }
	if j.Number != "" {
		take(parseJSONNumber(string(j.Number)))
	}
	if j.Text != nil {
		take(String(*j.Text), nil)
	}
	if j.Boolean != nil {
		take(Bool(*j.Boolean), nil)
	}
	if j.Data != nil {
		encoding := base64.RawURLEncoding
		if strings.HasSuffix(*j.Data, "=") { // some write it
			encoding = base64.URLEncoding
		}
		b, err := encoding.DecodeString(*j.Data)
		take(Opaque(b), err)
	}
	if j.Link != nil {
		take(ParseValue(KindLink, *j.Link))
	}
	if found > 1 {
		return Value{}, errSenMLTwoValues
	}
	return v, err
}

// parseJSONNumber gives an integer if the number is written as one and fits, or is one
// that a float would not hold exactly.
func parseJSONNumber(s string) (Value, error) {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil && s != "-0" {
		return Int(i), nil
	}
	if u, err := strconv.ParseUint(s, 10, 64); err == nil {
		return Uint(u), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if whole, is := new(big.Rat), err == nil && math.Abs(f) >= 1<<53 && math.Abs(f) <= 1<<64 && len(s) <= 64; is {
		if _, ok := whole.SetString(s); ok && whole.IsInt() && whole.Num().IsInt64() {
			return Int(whole.Num().Int64()), nil
		} else if ok && whole.IsInt() && whole.Num().IsUint64() {
			return Uint(whole.Num().Uint64()), nil
		}
	}
	return Float(f), err
}
