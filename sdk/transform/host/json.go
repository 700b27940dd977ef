package host

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// maxDepth is how deep a document may be nested, as for encoding/json.
const maxDepth = 10_000

// A document is read byte by byte, and kept is only in what it is nested.
type document struct {
	r     *bufio.Reader
	lines bool   // a line end is an end
	open  []bool // what is open: is it an object?
}

var errJSON = errors.New("no JSON")

// validateJSON wants exactly one value.
func validateJSON(r io.Reader) error {
	d := document{r: bufio.NewReaderSize(r, 64<<10)}
	c, err := d.token()
	if err != nil {
		return unexpected(err)
	}
	if err := d.value(c); err != nil {
		return unexpected(err)
	}
	if _, err := d.token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	return nil
}

// validateLines wants one value on each line. Empty lines are fine.
func validateLines(r io.Reader) error {
	d := document{r: bufio.NewReaderSize(r, 64<<10), lines: true}
	for n := 1; ; n++ {
		if _, err := d.r.Peek(1); errors.Is(err, io.EOF) {
			return nil
		}
		if err := d.line(); err != nil {
			return fmt.Errorf("line %d is no JSON: %w", n, unexpected(err))
		}
	}
}

// line reads a line with its end.
func (d *document) line() error {
	c, err := d.token()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := d.value(c); err != nil {
		return err
	}
	if _, err := d.token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (d *document) byte() (byte, error) {
	c, err := d.r.ReadByte()
	if c == '\n' && d.lines {
		return 0, io.EOF
	}
	return c, err
}

// token returns the next byte that is no space, never 0.
func (d *document) token() (byte, error) {
	for {
		c, err := d.byte()
		if c == 0 && err == nil {
			return 0, errJSON
		}
		if err != nil || c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c, err
		}
	}
}

// value reads a value that begins with c, and all that is in it.
func (d *document) value(c byte) (err error) {
	for d.open = d.open[:0]; ; {
		closed := true
		switch c {
		case '{', '[':
			if len(d.open) == maxDepth {
				return errors.New("nested too deep")
			}
			d.open = append(d.open, c == '{')
			closed = false
		case '"':
			err = d.string()
		case 't':
			err = d.literal("rue")
		case 'f':
			err = d.literal("alse")
		case 'n':
			err = d.literal("ull")
		default:
			err = d.number(c)
		}
		if err != nil {
			return err
		}
		if c, err = d.next(closed); err != nil || c == 0 {
			return err
		}
	}
}

// next returns how the next value begins, or 0 if the outermost is complete.
// closed says that a value has just ended, not begun.
func (d *document) next(closed bool) (byte, error) {
	for len(d.open) > 0 {
		object := d.open[len(d.open)-1]
		c, err := d.token()
		if err != nil {
			return 0, err
		}
		if object && c == '}' || !object && c == ']' {
			d.open, closed = d.open[:len(d.open)-1], true
			continue
		}
		if closed {
			if c != ',' {
				return 0, errJSON
			}
			if c, err = d.token(); err != nil {
				return 0, err
			}
		}
		if !object {
			return c, nil
		}
		if c != '"' {
			return 0, errJSON
		}
		return d.key()
	}
	return 0, nil
}

// key reads a key from behind its first quote, and returns how its value begins.
func (d *document) key() (byte, error) {
	if err := d.string(); err != nil {
		return 0, err
	}
	c, err := d.token()
	if err == nil && c != ':' {
		err = errJSON
	}
	if err != nil {
		return 0, err
	}
	return d.token()
}

func (d *document) string() error {
	for {
		c, err := d.byte()
		switch {
		case err != nil:
			return err
		case c == '"':
			return nil
		case c < ' ':
			return errJSON
		case c == '\\':
			if err := d.escape(); err != nil {
				return err
			}
		}
	}
}

func (d *document) escape() error {
	c, err := d.byte()
	if err != nil {
		return err
	}
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
	default:
		return errJSON
	}
	for range 4 {
		c, err := d.byte()
		if err != nil {
			return err
		}
		if !digit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
			return errJSON
		}
	}
	return nil
}

func (d *document) literal(rest string) error {
	for i := range len(rest) {
		c, err := d.byte()
		if err != nil {
			return err
		}
		if c != rest[i] {
			return errJSON
		}
	}
	return nil
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// number reads one that begins with c, and leaves what follows it.
func (d *document) number(c byte) (err error) {
	if c == '-' {
		if c, err = d.byte(); err != nil {
			return err
		}
	}
	if !digit(c) {
		return errJSON
	}
	if c != '0' {
		d.digits()
	}
	if d.skip('.', '.') && !d.digits() {
		return errJSON
	}
	if d.skip('e', 'E') {
		d.skip('+', '-')
		if !d.digits() {
			return errJSON
		}
	}
	return nil
}

// peek returns the next byte, or 0 if there is none.
func (d *document) peek() byte {
	b, err := d.r.Peek(1)
	if err != nil { // which will be there again when it is read
		return 0
	}
	return b[0]
}

// skip passes over the next byte if it is one of two.
func (d *document) skip(a, b byte) bool {
	if c := d.peek(); c != a && c != b {
		return false
	}
	_, err := d.r.Discard(1)
	return err == nil
}

// digits passes over digits and reports whether there were any.
func (d *document) digits() bool {
	any := false
	for digit(d.peek()) {
		any = true
		if _, err := d.r.Discard(1); err != nil {
			return false
		}
	}
	return any
}
