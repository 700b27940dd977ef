package transform

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// JSON is [Filter] for files that are one JSON document: it decodes the file
// into Old, as [Decode] does, and writes what fn returns. In Wasm, this takes about
// 25 times the size of the document in memory; for long ones there is [Each].
func JSON[Old, New any](fn func(Old, Edge) (New, error)) { Filter(document(fn)) }

// Lines is [Filter] for files with one JSON document on each line (NDJSON), of
// any length: it keeps one line in memory. Empty lines are left out. With it an
// edge may say split = "lines".
func Lines[Old, New any](fn func(Old, Edge) (New, error)) { Filter(lines(fn)) }

// Each is [Filter] for files that are one JSON document of any length, with a
// list or an object in it, the elements or members of which fn changes one by one.
// Where that is, a JSON Pointer says (RFC 6901), as in "/readings"; "" is the
// document itself. All else stays as it is. It keeps one element in memory, or
// one value that it passes by on its way to the list.
func Each[Old, New any](pointer string, fn func(Old, Edge) (New, error)) {
	Filter(each(pointer, fn))
}

// document makes a function for [Filter] from one for [JSON].
func document[Old, New any](fn func(Old, Edge) (New, error)) func(in io.Reader, out io.Writer, e Edge) error {
	return func(in io.Reader, out io.Writer, e Edge) error {
		text, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		result, err := change(text, e, fn)
		if err != nil {
			return about(e.File, e, err)
		}
		_, err = out.Write(append(result, '\n'))
		return err
	}
}

func lines[Old, New any](fn func(Old, Edge) (New, error)) func(in io.Reader, out io.Writer, e Edge) error {
	return func(in io.Reader, out io.Writer, e Edge) error {
		r := bufio.NewReaderSize(in, bufferSize)
		for n, more := 1, true; more; n++ {
			line, err := r.ReadBytes('\n')
			if more = err == nil; err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			result, err := change(line, e, fn)
			if err != nil {
				return about(fmt.Sprintf("%s, line %d,", e.File, n), e, err)
			}
			if _, err := out.Write(append(result, '\n')); err != nil {
				return err
			}
		}
		return nil
	}
}

// A malformed error is about what is no document of the old schema.
type malformed struct{ error }

// about says where what is malformed was found.
func about(where string, e Edge, err error) error {
	if bad, ok := errors.AsType[malformed](err); ok {
		return Refuse("%s is not the JSON of schema %d: %v", where, e.From, bad.error)
	}
	return err
}

// change returns the JSON of what fn makes of a document.
func change[Old, New any](text []byte, e Edge, fn func(Old, Edge) (New, error)) ([]byte, error) {
	var old Old
	if err := Decode(text, &old); err != nil {
		return nil, malformed{err}
	}
	result, err := fn(old, e)
	if err != nil {
		return nil, err
	}
	return encode(result)
}

// encode returns the JSON of a value, in which < is no more than itself.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("cannot write the new state: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// each makes a function for [Filter] from one for [Each].
func each[Old, New any](pointer string, fn func(Old, Edge) (New, error)) func(in io.Reader, out io.Writer, e Edge) error {
	return func(in io.Reader, out io.Writer, e Edge) error {
		path := strings.Split(pointer, "/")
		if path[0] != "" {
			return fmt.Errorf("the pointer %q does not begin with /", pointer)
		}
		d := json.NewDecoder(in)
		d.UseNumber()
		s := &stream{d: d, out: out, path: path[1:], change: func(text []byte) ([]byte, error) { return change(text, e, fn) }}
		if err := s.whole(); err != nil {
			return about(e.File, e, err)
		}
		if !s.found {
			return Refuse("%s has no list and no object at %q", e.File, pointer)
		}
		_, err := io.WriteString(out, "\n")
		return err
	}
}

// A stream copies a document and changes what is in the value at a path.
type stream struct {
	d      *json.Decoder
	out    io.Writer
	path   []string
	change func([]byte) ([]byte, error)
	found  bool
}

func (s *stream) whole() error {
	if err := s.value(s.path); err != nil {
		return err
	}
	if _, err := s.d.Token(); !errors.Is(err, io.EOF) {
		return malformed{errors.New("something follows the document")}
	}
	return nil
}

// value copies the value that leads on to rest of the path, or is at its end.
func (s *stream) value(rest []string) error {
	token, err := s.d.Token()
	if err != nil {
		return s.bad(err)
	}
	open, nested := token.(json.Delim)
	if !nested {
		return s.write(token)
	}
	if err := s.text(open.String()); err != nil {
		return err
	}
	if len(rest) == 0 {
		s.found = true
	}
	names := map[string]bool{}
	for i := 0; s.d.More(); i++ {
		if i > 0 {
			if err := s.text(","); err != nil {
				return err
			}
		}
		name := strconv.Itoa(i)
		if open == '{' {
			if name, err = s.name(names); err != nil {
				return err
			}
		}
		if err := s.member(name, rest); err != nil {
			return err
		}
	}
	end, err := s.d.Token()
	if err != nil {
		return s.bad(err)
	}
	return s.text(end.(json.Delim).String())
}

// bad says what is wrong with a document that could not be read on.
func (s *stream) bad(err error) error {
	if errors.Is(err, io.EOF) && s.d.InputOffset() > 0 {
		err = io.ErrUnexpectedEOF
	}
	return malformed{inWords(err)}
}

// name copies the name of a member, which must be another than those before.
func (s *stream) name(before map[string]bool) (string, error) {
	token, err := s.d.Token()
	if err != nil {
		return "", s.bad(err)
	}
	name := token.(string)
	if before[name] {
		return "", malformed{twice(name)}
	}
	before[name] = true
	return name, errors.Join(s.write(name), s.text(":"))
}

// unescape are the escapes of a JSON Pointer.
var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// member copies or changes a member or element.
func (s *stream) member(name string, rest []string) error {
	if len(rest) > 0 && unescape.Replace(rest[0]) == name {
		return s.value(rest[1:])
	}
	var text json.RawMessage
	if err := s.d.Decode(&text); err != nil {
		return s.bad(err)
	}
	if len(rest) > 0 {
		return s.text(string(text))
	}
	result, err := s.change(text)
	if err != nil {
		return err
	}
	return s.text(string(result))
}

func (s *stream) text(text string) error {
	_, err := io.WriteString(s.out, text)
	return err
}

// write writes a scalar.
func (s *stream) write(scalar any) error {
	text, err := encode(scalar)
	if err != nil {
		return err
	}
	return s.text(string(text))
}
