// Package settings reads the TOML files that people write: the recipes of
// packages, the configurations of the programs. Its errors are for them: each
// names file, line and key, and says in words what may stand there.
package settings

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// A File is a TOML file that was read. It knows where its keys are.
type File struct {
	path  string
	lines map[string]int // by key, as in "transform 2 limits cpu"
	under *File          // over which it was read; nil: none
}

// Read reads a file over the defaults in into, a pointer to a struct whose
// fields name their keys in the tag toml. A key that is not known is an error:
// it is most likely misspelt.
func Read(path string, into any) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text, into)
}

// ReadOver reads files one over the other: what a later one says wins, table by
// table and key by key, but a list as a whole.
func ReadOver(into any, paths ...string) (*File, error) {
	var top *File
	for _, path := range paths {
		f, err := Read(path, into)
		if err != nil {
			return nil, err
		}
		f.under, top = top, f
	}
	return top, nil
}

// Parse is [Read] of a text, with the path as its name.
func Parse(path string, text []byte, into any) (*File, error) {
	f := &File{path: path, lines: map[string]int{}}
	if err := f.walk(text, into); err != nil {
		return nil, err
	}
	if err := toml.Unmarshal(text, into); err != nil {
		return nil, f.decodeError(err)
	}
	return f, nil
}

// decodeError is about what the walk leaves to the decoder: keys given twice,
// numbers out of range, dates.
func (f *File) decodeError(err error) error {
	message := strings.TrimPrefix(err.Error(), "toml: ")
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, _ := e.Position()
		return f.at(line, inKeys(e.Key(), errors.New(message)))
	}
	return fmt.Errorf("%s: %s", f.path, message)
}

// at names file and line of an error.
func (f *File) at(line int, err error) error {
	if line == 0 {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return fmt.Errorf("%s, line %d: %w", f.path, line, err)
}

// Has reports whether a key was given, as in Has("transform 2 limits cpu"):
// the elements of a list count from 1.
func (f *File) Has(key string) bool { return f != nil && (f.lines[key] > 0 || f.under.Has(key)) }

// A Problem is something wrong with what stands under a key. Problems nest: one
// with limits may be one with cpu in them.
type Problem struct {
	Key string // as in "transform 2"
	Err error
}

// In makes an error a problem with a key; nil stays nil.
func In(key string, err error) error {
	if err == nil {
		return nil
	}
	return &Problem{key, err}
}

func (p *Problem) Error() string { return p.Key + ": " + p.Err.Error() }

func (p *Problem) Unwrap() error { return p.Err }

func inKeys(keys []string, err error) error {
	for i := len(keys) - 1; i >= 0; i-- {
		err = In(keys[i], err)
	}
	return err
}

// Place names the file, and the line of its key, of each of the problems that
// an error joins. Without a file there is nothing to add.
func (f *File) Place(err error) error {
	if f == nil {
		return err
	}
	var placed []error
	for _, one := range split(err) {
		where, line, _ := f.find(one)
		placed = append(placed, where.at(line, one))
	}
	return errors.Join(placed...)
}

// split returns the errors that one joins, also below a key.
func split(err error) []error {
	var all []error
	switch e := err.(type) {
	case nil:
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			all = append(all, split(one)...)
		}
	case *Problem:
		for _, one := range split(e.Err) {
			all = append(all, In(e.Key, one))
		}
	default:
		all = []error{err}
	}
	return all
}

// find returns where the key of a problem is, or, if that is what is missing, the
// table that wants it: in which file, the last that has most of the key's words;
// line 0 of the first file if none has any.
func (f *File) find(err error) (where *File, line, words int) {
	key, n := "", 0
	for p, ok := err.(*Problem); ok; p, ok = p.Err.(*Problem) {
		for part := range strings.FieldsSeq(p.Key) {
			key = join(key, part)
			n++
			if at := f.lines[key]; at > 0 {
				line, words = at, n
			}
		}
	}
	if f.under != nil {
		if below, at, more := f.under.find(err); more > words || words == 0 {
			return below, at, more
		}
	}
	return f, line, words
}

func join(key, part string) string {
	if key == "" {
		return part
	}
	return key + " " + part
}
