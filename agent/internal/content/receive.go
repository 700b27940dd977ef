package content

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tranquil-iot/tranquil/sdk/durable"
)

// Receive completes the blob of that digest and size in bytes. It calls fill
// with the number of bytes that are here from an earlier, unfinished Receive;
// fill appends the rest to w. When fill returns nil the bytes are checked and
// made durable; when it returns an error they are kept for the next Receive.
//
// A Write that would outgrow the blob fails with ErrSize, as does a fill that
// returns nil too early. Bytes that are not the blob's are thrown away, with
// ErrDigest; if part of them stem from an earlier Receive (a power cut may spoil
// them), fill is called once more first, from the start. A blob that is whole
// already is not received again, unless the disk has spoiled it since.
func (s *Store) Receive(digest string, size int64, fill func(have int64, w io.Writer) error) error {
	if _, err := s.whole(digest); err != nil {
		return err
	}
	release, err := s.claim(digest)
	if err != nil {
		return err
	}
	defer release()
	if sound, err := s.sound(digest); sound || err != nil {
		return err
	}
	have, err := s.attempt(digest, size, fill)
	if errors.Is(err, ErrDigest) && have > 0 {
		_, err = s.attempt(digest, size, fill)
	}
	return err
}

// sound reports whether the whole blob is there. One that is damaged it removes.
func (s *Store) sound(digest string) (bool, error) {
	f, err := s.Open(digest)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = check(digest, f)
	if errors.Is(err, ErrDigest) {
		return false, os.Remove(f.Name())
	}
	return err == nil, err
}

// attempt returns also how many bytes it found from an earlier one.
func (s *Store) attempt(digest string, size int64, fill func(int64, io.Writer) error) (int64, error) {
	p, err := s.openPartial(digest, size)
	if err != nil {
		return 0, err
	}
	defer p.file.Close()
	have := p.len
	if err := s.Reserve(size - have); err != nil {
		return have, err
	}
	if have < size || size == 0 {
		if err := fill(have, p); err != nil {
			return have, err
		}
	}
	if p.len != size {
		return have, fmt.Errorf("%s: %d of %d bytes: %w", digest, p.len, size, ErrSize)
	}
	return have, s.commit(digest, p.file)
}

// A partial appends to the good beginning of a blob and refuses to outgrow it.
type partial struct {
	file      *os.File
	len, size int64
}

func (s *Store) openPartial(digest string, size int64) (*partial, error) {
	f, err := os.OpenFile(s.partial(digest), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open partial blob: %w", err)
	}
	n, err := f.Seek(0, io.SeekEnd)
	if err == nil && n > size {
		// The size asked for differs from the time before: begin again.
		n, err = 0, f.Truncate(0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot open partial blob: %w", err)
	}
	return &partial{file: f, len: n, size: size}, nil
}

func (p *partial) Write(b []byte) (int, error) {
	if p.len+int64(len(b)) > p.size {
		return 0, fmt.Errorf("more than %d bytes: %w", p.size, ErrSize)
	}
	n, err := p.file.Write(b)
	p.len += int64(n)
	if err != nil {
		return n, fmt.Errorf("cannot write to content store: %w", err)
	}
	return n, nil
}

// commit makes the partial blob a whole one, or removes it if it is wrong.
func (s *Store) commit(digest string, f *os.File) error {
	if err := check(digest, f); err != nil {
		if errors.Is(err, ErrDigest) {
			os.Remove(f.Name())
		}
		return err
	}
	whole, err := s.whole(digest)
	if err != nil {
		return err
	}
	if err := durable.Commit(f, whole, 0o400); err != nil {
		return fmt.Errorf("cannot commit blob: %w", err)
	}
	return nil
}

func check(digest string, f *os.File) error {
	return compare(digest, io.NewSectionReader(f, 0, 1<<62))
}

func compare(digest string, r io.Reader) error {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return fmt.Errorf("cannot read back blob: %w", err)
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != digest {
		return fmt.Errorf("want %s, got %s: %w; the bytes are thrown away", digest, got, ErrDigest)
	}
	return nil
}
