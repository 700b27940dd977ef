package content

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/tranquil-iot/tranquil/sdk/durable"
)

// Receive completes the blob of that digest and size in bytes. It calls fill
// with the number of bytes that are here from an earlier, unfinished Receive;
// fill appends the rest to w. When fill returns nil the bytes are checked and
// made durable; when it returns an error they are kept for the next Receive.
//
// What has come is brought to the disk every MiB, and when fill ends: so a power cut
// costs no more than that. The digest is made as the bytes come.
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
func (s *Store) attempt(digest string, size int64, fill func(int64, io.Writer) error) (have int64, err error) {
	p, err := s.openPartial(digest, size)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	have = p.len
	if err := s.Reserve(size-have, 1); err != nil {
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
	return have, s.commit(digest, p)
}

const (
	// syncEach is after how many bytes a partial blob is brought to the disk.
	syncEach = 1 << 20

	// The mode of a partial blob says whether all of it has been: it is in the same
	// inode as the length, so a power cut keeps or loses both.
	openMode   = 0o600
	syncedMode = 0o640
)

// A partial appends to the good beginning of a blob and refuses to outgrow it.
type partial struct {
	file      *os.File
	sum       hash.Hash // of what is there
	len, size int64
	moved     bool // it is whole
}

func (s *Store) openPartial(digest string, size int64) (*partial, error) {
	f, err := os.OpenFile(s.partial(digest), os.O_RDWR|os.O_CREATE|os.O_APPEND, openMode)
	if err != nil {
		return nil, fmt.Errorf("cannot open partial blob: %w", err)
	}
	p := &partial{file: f, sum: sha256.New(), size: size}
	if err := p.resume(); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot open partial blob: %w", err)
	}
	return p, nil
}

// resume finds out how much of the file is good. What was written since it was
// brought to the disk last may be anything after a power cut.
func (p *partial) resume() error {
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	p.len = info.Size()
	if info.Mode().Perm() != syncedMode {
		p.len = max(p.len-1, 0) / syncEach * syncEach
	}
	if p.len > p.size { // the size asked for differs from the time before
		p.len = 0
	}
	if err := errors.Join(p.file.Truncate(p.len), p.file.Chmod(openMode)); err != nil {
		return err
	}
	_, err = io.Copy(p.sum, io.NewSectionReader(p.file, 0, p.len))
	return err
}

func (p *partial) Write(b []byte) (n int, err error) {
	if p.len+int64(len(b)) > p.size {
		return 0, fmt.Errorf("more than %d bytes: %w", p.size, ErrSize)
	}
	for len(b) > 0 && err == nil {
		var wrote int
		wrote, err = p.file.Write(b[:min(int64(len(b)), syncEach-p.len%syncEach)])
		p.sum.Write(b[:wrote])
		p.len += int64(wrote)
		n, b = n+wrote, b[wrote:]
		if err == nil && p.len%syncEach == 0 {
			err = p.file.Sync()
		}
	}
	if err != nil {
		return n, fmt.Errorf("cannot write to content store: %w", err)
	}
	return n, nil
}

// close keeps what has come for the next attempt.
func (p *partial) close() error {
	if p.moved {
		return p.file.Close()
	}
	err := p.file.Sync()
	if err == nil {
		err = p.file.Chmod(syncedMode)
	}
	if err = errors.Join(err, p.file.Close()); err != nil {
		return fmt.Errorf("cannot keep partial blob: %w", err)
	}
	return nil
}

// commit makes the partial blob a whole one, or removes it if it is wrong.
func (s *Store) commit(digest string, p *partial) error {
	p.moved = true
	if err := same(digest, p.sum); err != nil {
		os.Remove(p.file.Name())
		return err
	}
	whole, err := s.whole(digest)
	if err != nil {
		return err
	}
	if err := durable.Commit(p.file, whole, 0o400); err != nil {
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
	return same(digest, h)
}

func same(digest string, sum hash.Hash) error {
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("want %s, got %s: %w; the bytes are thrown away", digest, got, ErrDigest)
	}
	return nil
}
