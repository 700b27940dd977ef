package delta

import (
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

// A writer writes operations. Those that do the same one after the other become one.
type writer struct {
	files    [3]*os.File
	encoders [3]*zstd.Encoder
	op       uint64
	n        int64 // bytes that op is about
	at       int64 // of the base, after all that was written
	err      error // the first
}

func newWriter(scratch Scratch) (*writer, error) {
	w := &writer{}
	for i, window := range []int{opsWindow, addsWindow, dataWindow} {
		f, err := scratch(0)
		if err == nil {
			w.files[i] = f
			w.encoders[i], err = zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
				zstd.WithWindowSize(window), zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
		}
		if err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func (w *writer) close() {
	for i, e := range w.encoders {
		if e != nil {
			e.Close()
		}
		if w.files[i] != nil {
			w.files[i].Close()
		}
	}
}

// do adds n bytes to what an operation is about, from there in the base; bytes are
// those of a section.
func (w *writer) do(op uint64, n, from int64, bytes []byte) {
	if n == 0 {
		return
	}
	if op != opData && from != w.at {
		w.flush()
		w.number(opSeek, distance(from-w.at))
		w.at = from
	}
	if op != w.op {
		w.flush()
	}
	w.op, w.n = op, w.n+n
	if op != opData {
		w.at += n
	}
	if op != opCopy {
		w.put(int(op), bytes) // sections are numbered like the operations that need them
	}
}

func (w *writer) flush() {
	if w.n > 0 {
		w.number(w.op, uint64(w.n))
	}
	w.n = 0
}

func (w *writer) number(op, n uint64) { w.put(0, binary.AppendUvarint(nil, n<<2|op)) }

func (w *writer) put(section int, b []byte) {
	if _, err := w.encoders[section].Write(b); err != nil && w.err == nil {
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
	err := w.err
	for i, e := range w.encoders {
		err = errors.Join(err, e.Close())
		size, e := w.files[i].Seek(0, io.SeekCurrent)
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
