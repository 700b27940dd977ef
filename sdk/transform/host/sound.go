package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// A declared split is a promise of the author. It is tried on a sample before
// results depend on it: f(a+b) must be f(a)+f(b), where a is the beginning of
// a file and b its end, since that is where headers and sums are.
const (
	sampleFiles = 4        // of a step
	sampleSize  = 32 << 10 // bytes of each part
)

// sound reports whether the split has been tried since the memo is there.
func (s *stage) sound() bool {
	if s.Split == "" {
		return true
	}
	if s.memo == "" {
		return false
	}
	_, err := os.Stat(s.soundPath())
	return err == nil
}

func (s *stage) soundPath() string {
	return filepath.Join(s.memo+".pieces", "sound-"+s.key()[:16])
}

// noteSound spares the next run the samples.
func (s *stage) noteSound() error {
	if s.Split == "" || s.memo == "" || !s.tried {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(s.soundPath()), 0o700); err != nil {
		return err
	}
	return os.WriteFile(s.soundPath(), nil, 0o600)
}

// samples are tasks that try the split on some of the files.
func (s *stage) samples(files []entry) []task {
	if s.sound() {
		return nil
	}
	var all []task
	for _, e := range files {
		if e.size > 0 && len(all) < sampleFiles {
			all = append(all, task{entry: e, sample: true})
		}
	}
	return all
}

// try compares the transform of two parts of a file with that of both at once.
func (s *stage) try(ctx context.Context, w *worker, b *bench, e entry) error {
	first, last, err := s.parts(e)
	if err != nil || len(first) == 0 || len(last) == 0 {
		return err
	}
	joined, whole := sha256.New(), sha256.New() // a result may be long, so it is not in memory
	for _, run := range []struct {
		part []byte
		to   hash.Hash
	}{{first, joined}, {last, joined}, {append(bytes.Clone(first), last...), whole}} {
		part := run.part
		if _, err := b.put(bytes.NewReader(part)); err != nil {
			return err
		}
		if err := s.transform(ctx, w, b.in, b.out, e.path, int64(len(part))); err != nil {
			return err
		}
		if err := rewind(b.out); err != nil {
			return err
		}
		if _, err := io.Copy(run.to, b.out); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.tried = true
	s.mu.Unlock()
	if sum(joined) != sum(whole) {
		return &Error{Class: Invalid, Reason: "split = \"lines\" does not hold: the transform of two parts of the file is not that of the parts, joined"}
	}
	return nil
}

// parts returns the first and the last lines of a file, or its two halves.
func (s *stage) parts(e entry) (first, last []byte, err error) {
	f, err := s.in.Open(e.path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	size := min(e.size/2, sampleSize)
	first, last = make([]byte, size), make([]byte, min(e.size-size, sampleSize))
	if _, err := f.ReadAt(first, 0); err != nil {
		return nil, nil, fmt.Errorf("cannot read state: %w", err)
	}
	if _, err := f.ReadAt(last, e.size-int64(len(last))); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("cannot read state: %w", err)
	}
	rest := first[bytes.LastIndexByte(first, '\n')+1:]
	first = first[:len(first)-len(rest)]
	if e.size == size+int64(len(last)) {
		return first, append(bytes.Clone(rest), last...), nil
	}
	return first, last[bytes.IndexByte(last, '\n')+1:], nil
}
