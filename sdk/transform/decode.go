package transform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Decode reads one JSON document into what into points to, so that nothing of it
// is lost. Numbers in an any are json.Number, which keeps all their digits. What
// encoding/json would drop or change without a word is an error: members that a
// struct has no field of exactly that name for, members of which there are two with one
// name, bytes that are no UTF-8, and halves of surrogate pairs.
func Decode(text []byte, into any) error {
	if bytes.HasPrefix(text, []byte("\ufeff")) {
		return errors.New("it begins with a byte order mark, which JSON never has")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return inWords(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return lossless(text, reflect.TypeOf(into))
}

// inWords says what a document lacks that could not be read.
func inWords(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("there is nothing in it")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends in the middle")
	}
	return err
}

func twice(name string) error { return fmt.Errorf("there are two members %q in one object", name) }

// lossless goes through a document that is JSON, and was read into such a type.
func lossless(text []byte, into reflect.Type) error {
	if !utf8.Valid(text) {
		return errors.New("it is no UTF-8")
	}
	var open []*members
	depth, name := 0, false
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			if depth++; depth > len(open) {
				open = append(open, &members{})
			}
			open[depth-1].begin()
			name = text[i] == '{'
			open[depth-1].object, open[depth-1].of = name, into
			into = Element(into)
		case '}', ']':
			depth--
		case ',':
			name = depth > 0 && open[depth-1].object
			if depth > 0 {
				into = Element(open[depth-1].of)
			}
		case ':':
			name = false
		case '"':
			end := closing(text, i+1)
			said, err := unquoted(text[i : end+1])
			if err != nil {
				return err
			}
			if name && !open[depth-1].add(said) {
				return twice(string(said))
			}
			if name && open[depth-1].of != nil {
				if into, err = Member(open[depth-1].of, string(said)); err != nil {
					return err
				}
			}
			i = end
		}
	}
	return nil
}

// closing returns where the string ends of which the first byte is at i.
func closing(text []byte, i int) int {
	for text[i] != '"' {
		if text[i] == '\\' {
			i++
		}
		i++
	}
	return i
}

// unquoted returns what a string says, of which each surrogate must have its other
// half.
func unquoted(quoted []byte) ([]byte, error) {
	plain := quoted[1 : len(quoted)-1]
	escape := bytes.IndexByte(plain, '\\')
	if escape < 0 {
		return plain, nil
	}
	for i := escape; i < len(plain); i++ {
		if plain[i] != '\\' {
			continue
		}
		if i++; plain[i] != 'u' {
			continue
		}
		first := hex4(plain[i+1:])
		i += 4
		if !utf16.IsSurrogate(first) {
			continue
		}
		if !bytes.HasPrefix(plain[i+1:], []byte(`\u`)) || utf16.DecodeRune(first, hex4(plain[i+3:])) == utf8.RuneError {
			return nil, fmt.Errorf("the text %.40s… has half of a surrogate pair", quoted)
		}
		i += 6
	}
	var said string
	err := json.Unmarshal(quoted, &said)
	return []byte(said), err
}

func hex4(digits []byte) rune {
	n, _ := strconv.ParseUint(string(digits[:4]), 16, 16) // it is JSON
	return rune(n)
}

// members are the names in one object.
type members struct {
	object bool
	of     reflect.Type // nil: anything
	few    [][]byte
	many   map[string]bool // those of few as well, when they are many
}

// begin is for another object.
func (m *members) begin() { m.few, m.many = m.few[:0], nil }

// add reports whether a name is new.
func (m *members) add(name []byte) bool {
	if m.many != nil {
		known := m.many[string(name)]
		m.many[string(name)] = true
		return !known
	}
	if slices.ContainsFunc(m.few, func(other []byte) bool { return bytes.Equal(other, name) }) {
		return false
	}
	if m.few = append(m.few, name); len(m.few) > 16 {
		m.many = map[string]bool{}
		for _, name := range m.few {
			m.many[string(name)] = true
		}
	}
	return true
}
