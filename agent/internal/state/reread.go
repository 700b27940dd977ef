package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tranquil-iot/tranquil/sdk/fingerprint"
)

// markSpan is how many bytes lie between two marks of a file.
const markSpan = 1 << 20

// A mark is the state of a file's digest after another markSpan bytes. Between
// two marks a file can be compared without what is before them: so all
// processors compare at once, and the digest goes on from the first change. A
// content that leads from the one mark to the other and is not the one that
// was there has the fingerprint of that, or is a collision of SHA-256.
type mark struct {
	State []byte
	Print fingerprint.Print `json:",omitzero"` // of the bytes since the mark before; zero where a digest takes no longer
}

func stateOf(h hash.Hash) ([]byte, error) {
	state, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return state.MarshalBinary()
}

// resume returns a digest that goes on from the last of some marks.
func resume(marks []mark) (hash.Hash, error) {
	h := sha256.New()
	if len(marks) == 0 {
		return h, nil
	}
	state, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return h, state.UnmarshalBinary(marks[len(marks)-1].State)
}

// digestFrom reads a file from the last of some marks to the end, and returns
// its digest and all its marks, with fingerprints if there is a printer.
func digestFrom(f io.ReaderAt, marks []mark, printer *fingerprint.Printer) (string, []mark, error) {
	h, err := resume(marks)
	if err != nil {
		return "", nil, err
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	marks = marks[:len(marks):len(marks)]
	var print fingerprint.Print
	for at := int64(len(marks)) * markSpan; ; {
		n, err := f.ReadAt(*buffer, at)
		h.Write((*buffer)[:n])
		if printer != nil && n > 0 {
			print = printer.Add(print, (*buffer)[:n])
		}
		at += int64(n)
		if n > 0 && at%markSpan == 0 {
			state, err := stateOf(h)
			if err != nil {
				return "", nil, err
			}
			marks = append(marks, mark{state, print})
			print = fingerprint.Print{}
		}
		if errors.Is(err, io.EOF) {
			return "sha256:" + hex.EncodeToString(h.Sum(nil)), marks, nil
		}
		if err != nil {
			return "", nil, err
		}
	}
}

// The size divides markSpan, so that each mark is at the end of a read.
var buffers = sync.Pool{New: func() any { b := make([]byte, fingerprint.BlockSize); return &b }}

// until reads until a context ends.
type until struct {
	ctx context.Context
	io.ReaderAt
}

func (u until) ReadAt(p []byte, at int64) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.ReaderAt.ReadAt(p, at)
}

// alike returns how many of the first marks of an earlier content hold for a
// file as well.
func alike(f io.ReaderAt, size int64, marks []mark, printer *fingerprint.Printer) int {
	n := min(int64(len(marks)), size/markSpan)
	var next, differs atomic.Int64
	differs.Store(n)
	var group sync.WaitGroup
	for range min(n, int64(runtime.GOMAXPROCS(0))) {
		group.Go(func() {
			for i := next.Add(1) - 1; i < differs.Load(); i = next.Add(1) - 1 {
				if leads(f, marks, i, printer) {
					continue
				}
				for first := differs.Load(); i < first && !differs.CompareAndSwap(first, i); first = differs.Load() {
				}
			}
		})
	}
	group.Wait()
	return int(differs.Load())
}

// leads reports whether the content of a file leads from mark i-1 to mark i.
func leads(f io.ReaderAt, marks []mark, i int64, printer *fingerprint.Printer) bool {
	if printer != nil && marks[i].Print != (fingerprint.Print{}) {
		print, err := printer.Of(f, i*markSpan, markSpan)
		return err == nil && print == marks[i].Print
	}
	h, err := resume(marks[:i])
	if err != nil {
		return false
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for at, end := i*markSpan, (i+1)*markSpan; at < end; at += int64(len(*buffer)) {
		if _, err := f.ReadAt(*buffer, at); err != nil {
			return false
		}
		h.Write(*buffer)
	}
	got, err := stateOf(h)
	return err == nil && bytes.Equal(got, marks[i].State)
}
