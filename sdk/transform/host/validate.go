package host

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds one line of ndjson.
const maxLine = 16 << 20

// validators say whether bytes are of a format. WASI cannot tell a whole
// result from a part of one, so this is how a cut one is found.
var validators = map[string]func(io.Reader) error{
	"":       func(io.Reader) error { return nil },
	"bytes":  func(io.Reader) error { return nil },
	"json":   validateJSON,
	"ndjson": validateLines,
}

// validate checks a result from its start.
func validate(format string, f io.ReadSeeker) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := validators[format](f); err != nil {
		return &Error{Class: Invalid, Reason: fmt.Sprintf("it is not %s: %v", format, err)}
	}
	return nil
}

// validateJSON wants exactly one value. It goes token by token, so that a long
// document needs no memory.
func validateJSON(r io.Reader) error {
	d := json.NewDecoder(r)
	d.UseNumber()
	for depth, values := 0, 0; ; {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF) && depth == 0 && values == 1:
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			values++
		}
		if values > 1 {
			return errors.New("more than one document")
		}
	}
}

// validateLines wants one value on each line. Empty lines are fine.
func validateLines(r io.Reader) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for n := 1; s.Scan(); n++ {
		if len(s.Bytes()) > 0 && !json.Valid(s.Bytes()) {
			return fmt.Errorf("line %d is no JSON", n)
		}
	}
	return s.Err()
}
