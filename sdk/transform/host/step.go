package host

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// check refuses a step that cannot be meant.
func (s Step) check() error {
	if s.From <= 0 || s.To <= 0 {
		return fmt.Errorf("transform %s: schemas are positive", s.edge())
	}
	if s.Mode != "" && s.Mode != Filter && s.Mode != Tree {
		return fmt.Errorf("transform %s: unknown mode %q: use filter or tree", s.edge(), s.Mode)
	}
	if _, ok := validators[s.Format]; !ok {
		return fmt.Errorf("transform %s: unknown format %q: use json, ndjson, sqlite, tar or bytes", s.edge(), s.Format)
	}
	if s.Split != "" && (s.Split != SplitLines || s.Mode == Tree || s.Format == "json") {
		return fmt.Errorf("transform %s: split %q: only lines can be, of a filter that makes ndjson or bytes", s.edge(), s.Split)
	}
	if len(s.Schema) > 0 && s.Format != "json" && s.Format != "ndjson" {
		return fmt.Errorf("transform %s: a schema is for results in json or ndjson", s.edge())
	}
	for _, pattern := range s.Files {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("transform %s: files %q: %w", s.edge(), pattern, err)
		}
	}
	if n := s.paramBytes(); n > maxParams {
		return badModule("its params have %d bytes together, more than %d: shorten them", n, maxParams)
	}
	_, err := s.env("")
	return err
}

// maxParams is how many bytes the names and values of all params may have
// together: as many as fit into a message, with a file of a long name.
const maxParams = 96 << 10

func (s Step) paramBytes() (n int) {
	for name, value := range s.Params {
		n += len(name) + len(value)
	}
	return n
}

func (s Step) edge() string { return fmt.Sprintf("%d→%d", s.From, s.To) }

// matches reports whether the step is about a file.
func (s Step) matches(file string) bool {
	return len(s.Files) == 0 || slices.ContainsFunc(s.Files, func(pattern string) bool {
		ok, _ := path.Match(pattern, file)
		return ok
	})
}

// args and env are what ABI 1 says.
func (s Step) args(file string) []string {
	return []string{"transform", strconv.Itoa(s.From), strconv.Itoa(s.To), file}
}

func (s Step) env(file string) ([]string, error) {
	env := []string{
		"STATE_FROM=" + strconv.Itoa(s.From),
		"STATE_TO=" + strconv.Itoa(s.To),
		"STATE_FILE=" + file,
		"STATE_FORMAT=" + s.Format,
	}
	var params []string
	for name, value := range s.Params {
		if !isName(name) || strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("transform %s: param %q: names are letters, digits and _, values have no zero byte", s.edge(), name)
		}
		params = append(params, "PARAM_"+strings.ToUpper(name)+"="+value)
	}
	slices.Sort(params)
	return append(env, params...), nil
}

func isName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// name adds edge and file to an [Error].
func (s Step) name(err error, file string) error {
	var e *Error
	if errors.As(err, &e) {
		e.Edge = s.edge()
		if e.File == "" {
			e.File = file
		}
	}
	return err
}
