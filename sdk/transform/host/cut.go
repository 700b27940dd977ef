package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
)

// Sizes of pieces in bytes. Content decides where a piece of more than
// minPiece ends, on average after another spanPiece; it has at most maxPiece
// unless a single line is longer.
const (
	minPiece  = 64 << 10
	spanPiece = 256 << 10
	maxPiece  = 1 << 20
)

// A cutter divides a stream of lines into pieces, each of whole lines. Where
// it cuts depends on the lines thereabouts alone, so that what is appended or
// inserted changes the pieces it touches, and no others. Files whose lines are
// all alike are the exception: there an insertion moves every cut behind it.
type cutter struct {
	r    io.Reader
	buf  []byte // has what was read and not yet returned
	held []byte // the whole buffer
	err  error
}

func newCutter(r io.Reader) *cutter {
	held := make([]byte, 4*maxPiece)
	return &cutter{r: r, buf: held[:0], held: held}
}

// next calls f with the parts of the next piece, which are valid during the
// call; only a piece with a line longer than maxPiece has more than one part.
// It returns io.EOF when there is no piece left.
func (c *cutter) next(f func([]byte) error) error {
	if err := c.fill(); err != nil {
		return err
	}
	if len(c.buf) == 0 {
		return io.EOF
	}
	n := cut(c.buf[:min(len(c.buf), maxPiece)], len(c.buf) <= maxPiece)
	for n == 0 { // no line ends here
		if err := f(c.take(min(len(c.buf), maxPiece))); err != nil {
			return err
		}
		if err := c.fill(); err != nil {
			return err
		}
		if n = bytes.IndexByte(c.buf[:min(len(c.buf), maxPiece)], '\n') + 1; n == 0 && len(c.buf) <= maxPiece {
			n = len(c.buf)
			break
		}
	}
	return f(c.take(n))
}

// fill has more than maxPiece bytes in the buffer, or all there are.
func (c *cutter) fill() error {
	if len(c.buf) > maxPiece || c.err != nil {
		return c.failure()
	}
	n := copy(c.held, c.buf)
	m, err := io.ReadFull(c.r, c.held[n:])
	c.buf, c.err = c.held[:n+m], err
	return c.failure()
}

func (c *cutter) failure() error {
	if c.err == nil || errors.Is(c.err, io.EOF) || errors.Is(c.err, io.ErrUnexpectedEOF) {
		return nil
	}
	return c.err
}

func (c *cutter) take(n int) []byte {
	part := c.buf[:n]
	c.buf = c.buf[n:]
	return part
}

// cut returns the length of the first piece, or 0 if no line ends here. whole
// says that nothing follows: then what is left is a piece, and its last line
// may have no end.
func cut(window []byte, whole bool) int {
	if whole && len(window) <= minPiece {
		return len(window)
	}
	best, lowest := 0, ^uint64(0)
	at := bytes.LastIndexByte(window[:min(minPiece, len(window))], '\n') + 1 // where a line begins
	for at < len(window) {
		end := bytes.IndexByte(window[at:], '\n') + 1
		if end == 0 {
			break
		}
		line := window[at : at+end]
		h := hashLine(line)
		at += end
		// The chance to cut is in proportion to the line, so the piece's
		// length is not a matter of how long its lines are.
		if h/uint64(end) < ^uint64(0)/spanPiece {
			return at
		}
		if best == 0 || h < lowest {
			best, lowest = at, h
		}
	}
	switch {
	case whole:
		return len(window)
	case best == 0:
		return bytes.LastIndexByte(window, '\n') + 1
	}
	return best
}

// hashLine mixes all bytes of a line. It decides cuts, no more: that it is the
// same on every device and in every version only saves work.
func hashLine(line []byte) uint64 {
	const k = 0x9e3779b97f4a7c15
	h := uint64(len(line)) * k
	for ; len(line) >= 8; line = line[8:] {
		h = bits.RotateLeft64(h^binary.LittleEndian.Uint64(line), 29) * k
	}
	var last [8]byte
	copy(last[:], line)
	h = bits.RotateLeft64(h^binary.LittleEndian.Uint64(last[:]), 29) * k
	h ^= h >> 32
	h *= k
	return h ^ h>>29
}
