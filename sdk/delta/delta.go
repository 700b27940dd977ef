// Package delta makes one blob of a package out of another one, and of a file
// that is much smaller than either: the delta. Who makes it need not be trusted:
// the caller knows the digest of what has to come out.
//
// A delta is about contents. Layers are compressed, and two compressed files
// have nothing in common, so both are uncompressed first; the result is
// compressed again by the one compressor of layers (pack.Compress), which makes
// the same bytes of it. SPEC.md of sdk/pack has the format.
//
// To apply one takes Memory bytes, whatever the sizes are: the base stays on the
// disk.
package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Memory is how many bytes Apply needs at most.
const Memory = 16 << 20

// MaxSize is the most bytes that base and target may have without compression.
const MaxSize = 4 << 30

// ErrFormat says that a delta is none, or not for this base.
var ErrFormat = errors.New("malformed delta")

// magic begins a delta; the digit is the version of its format.
const magic = "tqdelta2"

// Format is that version. A device asks for deltas of the one that it knows.
const Format = 2

// The operations of a delta. Each is a number, length<<2 | operation; of seek, it
// is a distance, forwards 2n, backwards 2n-1.
const (
	opCopy   = iota // bytes of the base from where it is read
	opChange        // the same, and the second section tells how words of them have changed: at most longest bytes
	opData          // bytes of the third section
	opSeek          // go on reading the base elsewhere
)

// longest is the most bytes of one opChange.
const longest = 16 << 10

// Windows of the sections that are zstd frames, in bytes: what the decoders need.
const (
	opsWindow  = 1 << 20
	dataWindow = 4 << 20
)

// A header says what a delta is about.
type header struct {
	unwrap   bool     // the base is a compressed layer
	wrap     bool     // so is the target
	base     int64    // bytes, without compression
	target   int64    // likewise
	sections [3]int64 // bytes: operations and data, each a zstd frame; between them the changes
}

func (h header) encode() []byte {
	var flags byte
	if h.unwrap {
		flags |= 1
	}
	if h.wrap {
		flags |= 2
	}
	b := append([]byte(magic), flags)
	for _, n := range []int64{h.base, h.target, h.sections[0], h.sections[1], h.sections[2]} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

// Is reports whether a file begins as a delta does.
func Is(r io.ReaderAt) bool {
	b := make([]byte, len(magic))
	_, err := r.ReadAt(b, 0)
	return err == nil && string(b) == magic
}

// maxHeader is the most bytes that a header has.
const maxHeader = len(magic) + 1 + 5*binary.MaxVarintLen64

// decodeHeader reads the header of a delta of size bytes, and returns where the
// first section begins.
func decodeHeader(delta io.ReaderAt, size int64) (h header, begin int64, err error) {
	buf := make([]byte, min(int64(maxHeader), size))
	if _, err := delta.ReadAt(buf, 0); err != nil && err != io.EOF {
		return header{}, 0, err
	}
	rest, found := bytes.CutPrefix(buf, []byte(magic))
	if !found || len(rest) == 0 || rest[0] > 3 {
		return header{}, 0, fmt.Errorf("%w: unknown version", ErrFormat)
	}
	h.unwrap, h.wrap = rest[0]&1 != 0, rest[0]&2 != 0
	rest = rest[1:]
	for _, n := range []*int64{&h.base, &h.target, &h.sections[0], &h.sections[1], &h.sections[2]} {
		v, bytes := binary.Uvarint(rest)
		if bytes <= 0 || v > MaxSize {
			return header{}, 0, fmt.Errorf("%w: a size is too large", ErrFormat)
		}
		*n, rest = int64(v), rest[bytes:]
	}
	begin = int64(len(buf) - len(rest))
	if begin+h.sections[0]+h.sections[1]+h.sections[2] != size {
		return header{}, 0, fmt.Errorf("%w: the sections are not %d bytes", ErrFormat, size)
	}
	return h, begin, nil
}
