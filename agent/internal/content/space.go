package content

import (
	"fmt"
	"syscall"
)

// A SpaceError says that the disk is too full for what is to be stored.
type SpaceError struct {
	Need    int64 // bytes to be stored
	Have    int64 // bytes the file system has free
	Reserve int64 // bytes that must stay free
}

// Error tells the three numbers and what to do.
func (e *SpaceError) Error() string {
	return fmt.Sprintf("not enough disk space: need %d bytes, have %d, of which %d must stay free; free %d bytes and try again",
		e.Need, e.Have, e.Reserve, e.Need+e.Reserve-e.Have)
}

// Reserve returns a *SpaceError unless that many more bytes can be stored with
// the reserve left free. It promises nothing to later calls.
func (s *Store) Reserve(bytes int64) error {
	have, err := s.free(s.dir)
	if err != nil {
		return fmt.Errorf("cannot measure free disk space: %w", err)
	}
	if have-s.reserve < bytes {
		return &SpaceError{Need: bytes, Have: have, Reserve: s.reserve}
	}
	return nil
}

// A FullError says that a disk has less room than shall stay free.
type FullError struct {
	Dir    string
	Free   int64  // bytes
	Inodes uint64 // files that can still be made, if that is why
}

// Error tells what is left, and what to do.
func (e *FullError) Error() string {
	left := fmt.Sprintf("%d bytes", e.Free)
	if e.Inodes == 0 {
		left += " and no inode"
	}
	return fmt.Sprintf("the disk that holds %s had only %s free: free some and ask again", e.Dir, left)
}

// leastFree bytes are needed by whatever writes at all.
const leastFree = 1 << 20

// Full returns a *FullError if the file system of dir has less than the
// reserve left, or can take no more files; nil also if that cannot be told.
func Full(dir string, reserve int64) error {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil {
		return nil
	}
	free := int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // the fields are narrower on 32 bits
	counted := st.Files > 0                    // some file systems make inodes as they need them
	if free >= max(reserve, leastFree) && (!counted || st.Ffree > 0) {
		return nil
	}
	if !counted {
		st.Ffree = 1
	}
	return &FullError{Dir: dir, Free: free, Inodes: st.Ffree}
}

func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // the fields are narrower on 32 bits
}
