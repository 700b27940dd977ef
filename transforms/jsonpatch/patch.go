package jsonpatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// An operation is one of a patch, RFC 6902 section 4.
type operation struct {
	Op    string          `json:"op"`
	Path  pointer         `json:"path"`
	From  pointer         `json:"from"`
	Value json.RawMessage `json:"value"`

	value any
}

func parsePatch(data []byte) ([]operation, error) {
	var patch []operation
	if err := json.Unmarshal(data, &patch); err != nil {
		return nil, err
	}
	for i := range patch {
		if err := patch[i].check(); err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
	}
	return patch, nil
}

// check wants the members that RFC 6902 asks for.
func (o *operation) check() error {
	if o.Path == nil {
		return errors.New("it has no path")
	}
	switch o.Op {
	case "remove":
	case "add", "replace", "test":
		if o.Value == nil {
			return errors.New("it has no value")
		}
		var err error
		o.value, err = decode(o.Value)
		return err
	case "move", "copy":
		if o.From == nil {
			return errors.New("it has no from")
		}
		if o.Op == "move" && len(o.From) < len(o.Path) && slices.Equal(o.From, o.Path[:len(o.From)]) {
			return errors.New("it moves a value into itself")
		}
	default:
		return fmt.Errorf("unknown op %q", o.Op)
	}
	return nil
}

// apply returns the patched document; doc must not be used any more.
func (o *operation) apply(doc any) (any, error) {
	switch o.Op {
	case "add":
		return add(doc, o.Path, clone(o.value))
	case "remove":
		return remove(doc, o.Path)
	case "replace":
		return replace(doc, o.Path, clone(o.value))
	case "test":
		found, err := get(doc, o.Path)
		if err == nil && !equal(found, o.value) {
			err = errors.New("the value is another one")
		}
		return doc, err
	}
	value, err := get(doc, o.From)
	if err != nil {
		return nil, err
	}
	if o.Op == "copy" {
		return add(doc, o.Path, clone(value))
	}
	if doc, err = remove(doc, o.From); err != nil {
		return nil, err
	}
	return add(doc, o.Path, value)
}

// A pointer is a JSON pointer, RFC 6901, split and unescaped. It is nil when
// it is missing, and empty for the whole document.
type pointer []string

// UnmarshalText reads the string form.
func (p *pointer) UnmarshalText(text []byte) error {
	*p = pointer{}
	if len(text) == 0 {
		return nil
	}
	parts := strings.Split(string(text), "/")
	if parts[0] != "" {
		return fmt.Errorf("the pointer %q does not begin with /", text)
	}
	for _, part := range parts[1:] {
		*p = append(*p, unescape.Replace(part))
	}
	return nil
}

// String returns the pointer, unescaped, for messages.
func (p pointer) String() string { return "/" + strings.Join(p, "/") }

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// clone copies a value, so that no two places of a document share one.
func clone(value any) any {
	switch value := value.(type) {
	case map[string]any:
		c := make(map[string]any, len(value))
		for k, v := range value {
			c[k] = clone(v)
		}
		return c
	case []any:
		c := make([]any, len(value))
		for i, v := range value {
			c[i] = clone(v)
		}
		return c
	}
	return value
}

// equal compares values as RFC 6902 section 4.6 does: numbers by value.
func equal(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		if !ok || a == b {
			return ok
		}
		x, errX := a.Float64()
		y, errY := b.Float64()
		return errX == nil && errY == nil && x == y
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if other, ok := b[k]; !ok || !equal(v, other) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}
