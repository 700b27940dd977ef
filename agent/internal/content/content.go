// Package content keeps blobs on disk under the digest of their bytes.
//
// A blob is either whole or not there: bytes arrive in partial/<hex>, which
// survives the death of the process, and move to sha256/<hex> only when their
// digest is right. The length of a partial file is how far its download got,
// so resuming needs no other record.
//
//	dir/sha256/<64 hex digits>   whole blobs, read-only
//	dir/partial/<64 hex digits>  the good beginning of blobs still to come
package content

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/tranquil-iot/tranquil/sdk/space"
)

const (
	wholeDir   = "sha256"
	partialDir = "partial"
)

var (
	// ErrNotFound says that the store has no whole blob of that digest.
	ErrNotFound = errors.New("blob not found in the content store")
	// ErrDigest says that the bytes are not those that the digest names.
	ErrDigest = errors.New("content does not match its digest")
	// ErrSize says that more or fewer bytes came than the blob has.
	ErrSize = errors.New("content does not have its promised size")
	// ErrBusy says that another Receive of the same blob is under way.
	ErrBusy = errors.New("blob is being received already")
)

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// A Store is a directory of blobs. Its methods may be called at the same time.
type Store struct {
	dir     string
	reserve int64

	// Spare lists blobs that give way when there is no room for others; nil: none do.
	Spare func() []string

	left func(dir string, reserve int64) (space.Room, error)

	mu   sync.Mutex
	busy map[string]bool     // digests that a Receive works on
	held map[string][]string // digests that Collect leaves alone, by holder
}

// Open opens the store in dir, makes it if it is not there, and removes what
// does not belong in it. It never fills the disk beyond reserve free bytes.
func Open(dir string, reserve int64) (*Store, error) {
	s := &Store{dir: dir, reserve: reserve, left: space.Left, busy: map[string]bool{}, held: map[string][]string{}}
	for _, sub := range []string{wholeDir, partialDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("cannot make content store: %w", err)
		}
		if err := removeJunk(filepath.Join(dir, sub)); err != nil {
			return nil, fmt.Errorf("cannot clean content store: %w", err)
		}
	}
	return s, nil
}

// Has tells whether the whole blob is there.
func (s *Store) Has(digest string) bool {
	_, err := s.Size(digest)
	return err == nil
}

// Size returns the bytes of a whole blob, or ErrNotFound.
func (s *Store) Size(digest string) (int64, error) {
	path, err := s.whole(digest)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, notFound(digest, err)
	}
	return info.Size(), nil
}

// Open opens a whole blob for reading, or returns ErrNotFound.
func (s *Store) Open(digest string) (*os.File, error) {
	path, err := s.whole(digest)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, notFound(digest, err)
	}
	return f, nil
}

// Path returns where a whole blob is, or ErrNotFound. The file must not be
// written to.
func (s *Store) Path(digest string) (string, error) {
	if _, err := s.Size(digest); err != nil {
		return "", err
	}
	return s.whole(digest)
}

// Delete removes a blob, whole or partial. A blob that is not there is no
// error; one that is being received is ErrBusy.
func (s *Store) Delete(digest string) error {
	whole, err := s.whole(digest)
	if err != nil {
		return err
	}
	release, err := s.claim(digest)
	if err != nil {
		return err
	}
	defer release()
	return remove(whole, s.partial(digest))
}

// Drop removes a blob, whole or partial, unless somebody holds or receives it.
func (s *Store) Drop(digest string) error {
	whole, err := s.whole(digest)
	if err == nil {
		_, err = s.discard(digest, whole, s.partial(digest))
	}
	return err
}

func remove(paths ...string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot delete blob: %w", err)
		}
	}
	return nil
}

// Hold has Collect leave these blobs alone, in place of what the same holder
// held before; without any, the holder holds nothing any more. The store forgets
// it when it is closed.
func (s *Store) Hold(holder string, digests ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[holder] = digests
	if len(digests) == 0 {
		delete(s.held, holder)
	}
}

// Collect deletes all blobs, whole and partial, whose digest is not in keep,
// except those being received or held, and returns how many bytes that freed.
func (s *Store) Collect(keep []string) (freed int64, err error) {
	for _, sub := range []string{wholeDir, partialDir} {
		entries, err := os.ReadDir(filepath.Join(s.dir, sub))
		if err != nil {
			return freed, fmt.Errorf("cannot collect garbage: %w", err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || slices.Contains(keep, "sha256:"+e.Name()) {
				continue // or gone since ReadDir
			}
			gone, err := s.discard("sha256:"+e.Name(), filepath.Join(s.dir, sub, e.Name()))
			if err != nil {
				return freed, err
			}
			if gone {
				freed += info.Size()
			}
		}
	}
	return freed, nil
}

// discard removes files of a blob that nobody holds or receives. Who holds it from
// now on finds it gone, rather than about to go.
func (s *Store) discard(digest string, paths ...string) (gone bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[digest] {
		return false, nil
	}
	for _, digests := range s.held {
		if slices.Contains(digests, digest) {
			return false, nil
		}
	}
	return true, remove(paths...)
}

// Scratch makes a file that has room for so many bytes; it is gone when it is closed,
// or the process ends.
func (s *Store) Scratch(size int64) (*os.File, error) {
	if err := s.Reserve(size, 1); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, partialDir), ".scratch-*")
	if err != nil {
		return nil, fmt.Errorf("cannot make scratch file: %w", err)
	}
	return f, os.Remove(f.Name())
}

func (s *Store) claim(digest string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[digest] {
		return nil, fmt.Errorf("%s: %w", digest, ErrBusy)
	}
	s.busy[digest] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.busy, digest)
	}, nil
}

// whole is where the blob is, or will be. It guards the file system: no path
// is built from a digest that has another form.
func (s *Store) whole(digest string) (string, error) {
	if !digestForm.MatchString(digest) {
		return "", fmt.Errorf("malformed digest %q, want sha256 and 64 hex digits", digest)
	}
	return filepath.Join(s.dir, wholeDir, strings.TrimPrefix(digest, "sha256:")), nil
}

func (s *Store) partial(digest string) string {
	return filepath.Join(s.dir, partialDir, strings.TrimPrefix(digest, "sha256:"))
}

func removeJunk(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && digestForm.MatchString("sha256:"+e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func notFound(digest string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", digest, ErrNotFound)
	}
	return fmt.Errorf("cannot open blob: %w", err)
}
