package content

import (
	"fmt"

	"github.com/tranquil-iot/tranquil/sdk/space"
)

// A SpaceError says that the disk is too full for what is to be stored.
type SpaceError struct {
	Need    int64 // bytes to be stored
	Have    int64 // bytes the file system has free
	Reserve int64 // bytes that must stay free
	Files   int64 // so many files and directories are too many, if that is why
}

// Error tells the numbers and what to do.
func (e *SpaceError) Error() string {
	if e.Files > 0 {
		return fmt.Sprintf("not enough inodes on the disk for %d files and directories beside those that must stay free: remove some files and try again", e.Files)
	}
	return fmt.Sprintf("not enough disk space: need %d bytes, have %d, of which %d must stay free; free %d bytes and try again",
		e.Need, e.Have, e.Reserve, e.Need+e.Reserve-e.Have)
}

// yield deletes the blobs that may give way, and reports whether there were any.
func (s *Store) yield() (any bool) {
	if s.Spare == nil {
		return false
	}
	for _, digest := range s.Spare() {
		path, err := s.whole(digest)
		if err != nil || !s.Has(digest) {
			continue
		}
		gone, err := s.discard(digest, path)
		any = any || gone && err == nil
	}
	return any
}

// Reserve returns a *SpaceError unless that many more bytes can be stored, in
// so many files and directories, with the reserve left free, and as large a
// share of the inodes. It promises nothing to later calls.
func (s *Store) Reserve(bytes, files int64) error {
	left, err := s.left(s.dir, s.reserve)
	if err == nil && (left.Bytes < bytes || left.Files < files) && s.yield() {
		left, err = s.left(s.dir, s.reserve)
	}
	switch {
	case err != nil:
		return fmt.Errorf("cannot measure free disk space: %w", err)
	case left.Bytes < bytes:
		return &SpaceError{Need: bytes, Have: left.Bytes + s.reserve, Reserve: s.reserve}
	case left.Files < files:
		return &SpaceError{Need: bytes, Have: left.Bytes + s.reserve, Reserve: s.reserve, Files: files}
	}
	return nil
}

// A FullError says that a disk has less room than shall stay free.
type FullError struct {
	Dir      string
	Free     int64 // bytes
	NoInodes bool  // that is why
}

// Error tells what is left, and what to do.
func (e *FullError) Error() string {
	left := fmt.Sprintf("%d bytes", e.Free)
	if e.NoInodes {
		left += " and no inode but those that are to stay"
	}
	return fmt.Sprintf("the disk that holds %s had only %s free: free some and ask again", e.Dir, left)
}

// leastFree bytes are needed by whatever writes at all.
const leastFree = 1 << 20

// Full returns a *FullError if the file system of dir has less than the
// reserve left, or can take no more files beside its share of them; nil also if
// that cannot be told.
func Full(dir string, reserve int64) error {
	reserve = max(reserve, leastFree)
	left, err := space.Left(dir, reserve)
	if err != nil || left.Bytes >= 0 && left.Files > 0 {
		return nil //nolint:nilerr // see above
	}
	return &FullError{Dir: dir, Free: left.Bytes + reserve, NoInodes: left.Files <= 0}
}
