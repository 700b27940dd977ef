package host

import "fmt"

// A reader walks bytes of a module. The first error sticks; after it every
// read returns zero, so that callers check once, at the end of a section. One
// goroutine has it: where each byte passes, the race detector is told to look away,
// which is fifteen times as fast.
type reader struct {
	data  []byte
	stop  int    // where data ends in the module
	from  int    // where in it the last read began
	place string // what data is, for people; "" if it is the whole module
	err   *Error
}

// fail notes an error with its place, as wasm-objdump gives it.
func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = badModule(format, args...)
		if r.place != "" {
			r.err.Reason += fmt.Sprintf(" (%s, byte %#x)", r.place, r.from)
		}
	}
	r.data = nil
}

//go:norace
func (r *reader) byte() byte {
	r.from = r.stop - len(r.data)
	if len(r.data) == 0 {
		r.fail("it is truncated")
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

// leb reads an unsigned LEB128 number of at most the given bits.
func (r *reader) leb(bits uint) uint64 {
	var v uint64
	for shift := uint(0); shift < bits; shift += 7 {
		b := r.byte()
		if shift+7 > bits && b>>(bits-shift) != 0 {
			break
		}
		v |= uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			return v
		}
	}
	r.fail("a number is too long")
	return 0
}

func (r *reader) u32() uint64 { return r.leb(32) }

// count reads the length of a vector whose elements have at least one byte
// each, which is what keeps decoders from allocating more than they got.
func (r *reader) count(what string, limit uint64) int {
	n := r.u32()
	if n > limit || n > uint64(len(r.data)) {
		r.fail("it has too many %s: %d", what, n)
		return 0
	}
	return int(n)
}

func (r *reader) take(n uint64) []byte {
	r.from = r.stop - len(r.data)
	if n > uint64(len(r.data)) {
		r.fail("it is truncated")
		return nil
	}
	head := r.data[:n]
	r.data = r.data[n:]
	return head
}

func (r *reader) name() []byte { return r.take(r.u32()) }

// sub returns a reader of the next n bytes.
func (r *reader) sub(n uint64) *reader {
	data := r.take(n)
	return &reader{data: data, stop: r.stop - len(r.data), from: r.from, place: r.place, err: r.err}
}

// skipLEB passes over a signed or unsigned number of any width.
//
//go:norace
func (r *reader) skipLEB() {
	for range 10 {
		if r.byte()&0x80 == 0 {
			return
		}
	}
	r.fail("a number is too long")
}

// end wants everything to have been read.
func (r *reader) end(what string) {
	if r.err == nil && len(r.data) != 0 {
		r.fail("%s has %d bytes too many", what, len(r.data))
	}
}
