package delta

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Scratch makes a file that nobody else sees; whoever asked for it closes it, and
// then it is gone.
type Scratch func(size int64) (*os.File, error)

// A File is what is on the disk.
type File interface {
	io.Reader
	io.ReaderAt
	Stat() (os.FileInfo, error)
}

// Apply writes what the delta makes of the base. A layer's content needs room on
// the disk, in a scratch file. What was written counts only if the error is nil
// and its digest is right.
func Apply(w io.Writer, delta, base File, scratch Scratch) error {
	if err := apply(w, delta, base, scratch); err != nil {
		return fmt.Errorf("cannot apply delta: %w", err)
	}
	return nil
}

// Needs returns how many bytes of scratch files it takes to apply a delta.
func Needs(delta File) (int64, error) {
	info, err := delta.Stat()
	if err != nil {
		return 0, err
	}
	h, _, err := decodeHeader(delta, info.Size())
	if err != nil || !h.unwrap {
		return 0, err
	}
	return h.base, nil
}

func apply(w io.Writer, delta, base File, scratch Scratch) error {
	info, err := delta.Stat()
	if err != nil {
		return err
	}
	h, begin, err := decodeHeader(delta, info.Size())
	if err != nil {
		return err
	}
	content, err := open(base, h, scratch)
	if err != nil {
		return err
	}
	defer content.Close()
	a := &applier{header: h, base: newCached(content, h.base)}
	if err := a.open(delta, begin); err != nil {
		return err
	}
	defer a.close()
	if !h.wrap {
		return a.run(w)
	}
	zw, err := pack.Compress(w)
	if err != nil {
		return err
	}
	return errors.Join(a.run(zw), zw.Close())
}

type readerAtCloser interface {
	io.ReaderAt
	io.Closer
}

// A plain blob is its own content; whoever has opened it closes it.
type plain struct{ io.ReaderAt }

func (plain) Close() error { return nil }

// open returns the content of the base, which has to have the size that the delta
// is for.
func open(base File, h header, scratch Scratch) (readerAtCloser, error) {
	if h.unwrap {
		f, size, err := unwrap(base, h.base, scratch)
		if err == nil && size != h.base {
			err = errors.Join(fmt.Errorf("%w: it is for a base of another size", ErrFormat), f.Close())
		}
		return f, err
	}
	info, err := base.Stat()
	if err == nil && info.Size() != h.base {
		err = fmt.Errorf("%w: it is for a base of another size", ErrFormat)
	}
	return plain{base}, err
}

// An applier carries out operations.
type applier struct {
	header
	base    *cached
	from    int64 // of the base, where it is read
	to      int64 // bytes of the target that are written
	ops     *bufio.Reader
	changes *decoder
	guesser *guesser
	data    io.Reader
	frames  []*zstd.Decoder
	buf     [longest]byte
}

// open opens the sections.
func (a *applier) open(delta io.ReaderAt, begin int64) error {
	var sections [3]*io.SectionReader
	for i, n := range a.sections {
		sections[i] = io.NewSectionReader(delta, begin, n)
		begin += n
	}
	ops, err := a.frame(sections[0], opsWindow)
	if err == nil {
		a.data, err = a.frame(sections[2], dataWindow)
	}
	if err != nil {
		a.close()
		return err
	}
	a.ops, a.changes = bufio.NewReader(ops), newDecoder(sections[1])
	a.guesser = newGuesser(a.changes)
	return nil
}

func (a *applier) frame(r io.Reader, window uint64) (io.Reader, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	if err == nil {
		a.frames = append(a.frames, d)
	}
	return d, err
}

func (a *applier) close() {
	for _, d := range a.frames {
		d.Close()
	}
}

// run writes the target. Each operation brings it forward, or is followed by one
// that does, so there is an end.
func (a *applier) run(w io.Writer) error {
	for sought := false; ; {
		v, err := binary.ReadUvarint(a.ops)
		if err == io.EOF && a.to == a.target {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: operations end at byte %d of %d: %w", ErrFormat, a.to, a.target, err)
		}
		op, n := v&3, int64(v>>2)
		switch {
		case op == opSeek && !sought:
			sought = true
			err = a.seek(n)
		case op == opSeek || n == 0 || n > a.target-a.to || op == opChange && n > longest:
			err = fmt.Errorf("%w: operation at byte %d leads nowhere", ErrFormat, a.to)
		default:
			sought = false
			err = a.do(w, op, n)
		}
		if err != nil {
			return err
		}
	}
}

func (a *applier) seek(by int64) error {
	if by&1 == 0 {
		a.from += by / 2
	} else {
		a.from -= by/2 + 1
	}
	if a.from < 0 || a.from > a.header.base {
		return fmt.Errorf("%w: it leads out of the base", ErrFormat)
	}
	return nil
}

func (a *applier) do(w io.Writer, op uint64, n int64) error {
	if op != opData && n > a.header.base-a.from {
		return fmt.Errorf("%w: it leads out of the base", ErrFormat)
	}
	for n > 0 {
		b := a.buf[:min(n, longest)]
		if err := a.fill(b, op); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		n -= int64(len(b))
		a.to += int64(len(b))
	}
	return nil
}

// fill makes the next bytes of the target.
func (a *applier) fill(b []byte, op uint64) error {
	if op == opData {
		return section(a.data, b)
	}
	if err := a.base.read(b, a.from); err != nil {
		return err
	}
	if op == opChange {
		a.guesser.run(b, a.from, a.to-a.from, nil)
	}
	a.from += int64(len(b))
	return a.changes.err
}

func section(r io.Reader, b []byte) error {
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("%w: a section is damaged: %w", ErrFormat, err)
	}
	return nil
}

// A cached reads small pieces that are near to each other.
type cached struct {
	from io.ReaderAt
	size int64
	buf  []byte
	at   int64 // where buf is from
}

func newCached(from io.ReaderAt, size int64) *cached {
	return &cached{from: from, size: size, buf: make([]byte, 0, 64<<10)}
}

func (c *cached) read(b []byte, at int64) error {
	for len(b) > 0 {
		if at < c.at || at >= c.at+int64(len(c.buf)) {
			if err := c.load(at); err != nil {
				return err
			}
		}
		n := copy(b, c.buf[at-c.at:])
		b, at = b[n:], at+int64(n)
	}
	return nil
}

func (c *cached) load(at int64) error {
	c.at, c.buf = at, c.buf[:min(int64(cap(c.buf)), c.size-at)]
	n, err := c.from.ReadAt(c.buf, at)
	if n == len(c.buf) && n > 0 {
		return nil
	}
	c.buf = c.buf[:0]
	return fmt.Errorf("cannot read base: %w", err)
}
