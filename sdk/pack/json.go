package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// decodeStrict decodes one JSON value from outside into v, and refuses what
// two readers could understand differently: unknown members, members given
// twice or in another case, a second value, invalid UTF-8 and deep nesting.
func decodeStrict(b []byte, v any) error {
	if err := checkJSONOf(b, reflect.TypeOf(v)); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// decodeOpen is decodeStrict, but lets unknown members be, as the OCI specs
// demand of readers.
func decodeOpen(b []byte, v any) error {
	if err := checkJSONOf(b, reflect.TypeOf(v)); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// A jsonLevel is one open object or array.
type jsonLevel struct {
	object bool
	isKey  bool // the next token is a member's name
	seen   map[string]bool
	of     reflect.Type // what it is read into, and
	next   reflect.Type // what comes in it; nil: anything
}

func checkJSON(b []byte) error { return checkJSONOf(b, nil) }

func checkJSONOf(b []byte, into reflect.Type) error {
	if !utf8.Valid(b) {
		return errors.New("JSON is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var open []jsonLevel
	for values := 0; ; {
		token, err := dec.Token()
		if err == io.EOF && values == 1 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not valid JSON: %w", err)
		}
		if open, err = step(open, token, into); err != nil {
			return err
		}
		if len(open) == 0 {
			values++
		}
		if values > 1 {
			return errors.New("more than one JSON value")
		}
	}
}

// step follows one token: into and out of objects and arrays, and through the
// names and values of members.
func step(open []jsonLevel, token json.Token, into reflect.Type) ([]jsonLevel, error) {
	if token == json.Delim('}') || token == json.Delim(']') {
		return open[:len(open)-1], nil
	}
	if len(open) > 0 && open[len(open)-1].object {
		top := &open[len(open)-1]
		if name, ok := token.(string); ok && top.isKey {
			if top.seen[name] {
				return nil, fmt.Errorf("JSON member %.80q is given twice", name)
			}
			var err error
			top.seen[name], top.isKey = true, false
			top.next, err = transform.Member(top.of, name)
			return open, err
		}
		top.isKey = true
	}
	if token == json.Delim('{') || token == json.Delim('[') {
		if len(open) > 0 {
			into = open[len(open)-1].next
		}
		isObject := token == json.Delim('{')
		open = append(open, jsonLevel{object: isObject, isKey: isObject, seen: map[string]bool{}, of: into, next: transform.Element(into)})
	}
	if len(open) > maxDepth {
		return nil, fmt.Errorf("JSON is nested deeper than %d", maxDepth)
	}
	return open, nil
}
