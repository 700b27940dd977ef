package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// ErrNone says that there is no delta of two blobs: a layer was compressed by
// something else than pack.Compress, or is too large.
var ErrNone = errors.New("no delta of these can be made")

// Make writes the delta that makes target of base. If both are compressed layers, each
// may have so many bytes unpacked, MaxSize at most, which take as much of the disk;
// else that is 0. It needs about 300 MiB of memory for files of 32 MiB and more,
// less for smaller ones.
func Make(w io.Writer, base, target File, unpacked int64, scratch Scratch) error {
	if err := makeDelta(w, base, target, unpacked, scratch); err != nil {
		return fmt.Errorf("cannot make delta: %w", err)
	}
	return nil
}

func makeDelta(w io.Writer, base, target File, unpacked int64, scratch Scratch) error {
	layer := unpacked > 0
	from, err := openContent(base, unpacked, scratch)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := openContent(target, unpacked, scratch)
	if err != nil {
		return err
	}
	defer to.Close()
	if layer {
		if err := comesBack(to, target); err != nil {
			return err
		}
	}
	out, err := newWriter(scratch)
	if err != nil {
		return err
	}
	defer out.close()
	if err := compare(out, from, to, wide); err != nil {
		return err
	}
	return out.finish(w, header{unwrap: layer, wrap: layer, base: from.size, target: to.size})
}

// A content is what is in a blob, and its parts.
type content struct {
	readerAtCloser
	size  int64
	parts []part
}

func openContent(blob File, unpacked int64, scratch Scratch) (content, error) {
	info, err := blob.Stat()
	if err != nil {
		return content{}, err
	}
	if unpacked <= 0 {
		c := content{plain{blob}, info.Size(), nil}
		if c.size > MaxSize {
			return content{}, fmt.Errorf("%w: it has %d bytes", ErrNone, c.size)
		}
		c.parts, err = wholly(c)
		return c, err
	}
	f, size, err := unwrap(blob, min(unpacked, MaxSize), func(int64) (*os.File, error) { return scratch(4 * info.Size()) })
	if err != nil {
		return content{}, fmt.Errorf("%w: %w", ErrNone, err)
	}
	c := content{f, size, nil}
	if c.parts, err = partsOf(c); err != nil {
		return content{}, errors.Join(err, f.Close())
	}
	return c, nil
}

// comesBack reports whether compressing a layer's content makes the layer.
func comesBack(c content, layer File) error {
	same := &sameWriter{as: io.NewSectionReader(layer, 0, 1<<62)}
	zw, err := pack.Compress(same)
	if err != nil {
		return err
	}
	_, err = io.Copy(zw, io.NewSectionReader(c, 0, c.size))
	if err := errors.Join(err, zw.Close(), same.end()); err != nil {
		return fmt.Errorf("%w: the layer was compressed by another tool: %w", ErrNone, err)
	}
	return nil
}

// A sameWriter fails at the first byte that is not the other's.
type sameWriter struct {
	as  io.Reader
	buf []byte
}

var errDiffers = errors.New("not the same")

func (s *sameWriter) Write(b []byte) (int, error) {
	if len(s.buf) < len(b) {
		s.buf = make([]byte, len(b))
	}
	if _, err := io.ReadFull(s.as, s.buf[:len(b)]); err != nil || string(s.buf[:len(b)]) != string(b) {
		return 0, errDiffers
	}
	return len(b), nil
}

func (s *sameWriter) end() error {
	if n, err := s.as.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return errDiffers
	}
	return nil
}

// A writer writes operations. Copies that go on where the one before ended become one,
// and so does data.
type writer struct {
	files   [3]*os.File
	ops     *zstd.Encoder
	changes *encoder
	bytes   *zstd.Encoder
	guesser *guesser
	op      uint64
	n       int64 // bytes that op is about
	from    int64 // of the base, after all that was written
	to      int64 // of the target, likewise
	err     error // the first
}

func newWriter(scratch Scratch) (w *writer, err error) {
	w = &writer{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	for i := range w.files {
		if w.files[i], err = scratch(0); err != nil {
			return nil, err
		}
	}
	if w.ops, err = compressor(w.files[0], opsWindow); err != nil {
		return nil, err
	}
	if w.bytes, err = compressor(w.files[2], dataWindow); err != nil {
		return nil, err
	}
	w.changes = newEncoder(w.files[1])
	w.guesser = newGuesser(w.changes)
	return w, nil
}

func compressor(w io.Writer, window int) (*zstd.Encoder, error) {
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(window),
		zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
}

func (w *writer) close() {
	for _, e := range []*zstd.Encoder{w.ops, w.bytes} {
		if e != nil {
			e.Close()
		}
	}
	for _, f := range w.files {
		if f != nil {
			f.Close()
		}
	}
}

// copy writes n bytes of the base from there.
func (w *writer) copy(from, n int64) {
	w.seek(from)
	w.do(opCopy, n)
	w.from += n
}

// change writes what has become of bytes of the base from there.
func (w *writer) change(from int64, old, now []byte) {
	w.seek(from)
	for len(now) > 0 {
		n := min(len(now), longest)
		w.flush()
		w.guesser.run(bytes.Clone(old[:n]), w.from, w.to-w.from, now[:n])
		w.do(opChange, int64(n))
		w.from += int64(n)
		old, now = old[n:], now[n:]
	}
}

// data writes bytes that are not in the base.
func (w *writer) data(b []byte) {
	w.do(opData, int64(len(b)))
	w.note(w.bytes.Write(b))
}

func (w *writer) seek(from int64) {
	if from == w.from {
		return
	}
	w.flush()
	w.number(opSeek, distance(from-w.from))
	w.from = from
}

// do adds n bytes to what an operation is about.
func (w *writer) do(op uint64, n int64) {
	if n == 0 {
		return
	}
	if op != w.op {
		w.flush()
	}
	w.op, w.n, w.to = op, w.n+n, w.to+n
}

func (w *writer) flush() {
	if w.n > 0 {
		w.number(w.op, uint64(w.n))
	}
	w.n = 0
}

func (w *writer) number(op, n uint64) { w.note(w.ops.Write(binary.AppendUvarint(nil, n<<2|op))) }

func (w *writer) note(_ int, err error) {
	if w.err == nil {
		w.err = err
	}
}

// distance is that of a seek: see opSeek.
func distance(by int64) uint64 {
	if by < 0 {
		return uint64(-by)*2 - 1
	}
	return uint64(by) * 2
}

// finish puts the delta together.
func (w *writer) finish(out io.Writer, h header) error {
	w.flush()
	err := errors.Join(w.err, w.ops.Close(), w.changes.Close(), w.bytes.Close())
	for i, f := range w.files {
		size, e := f.Seek(0, io.SeekCurrent)
		h.sections[i], err = size, errors.Join(err, e)
	}
	if err != nil {
		return err
	}
	if _, err := out.Write(h.encode()); err != nil {
		return err
	}
	for i, f := range w.files {
		if _, err := io.Copy(out, io.NewSectionReader(f, 0, h.sections[i])); err != nil {
			return err
		}
	}
	return nil
}
