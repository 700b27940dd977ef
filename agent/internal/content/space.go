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

func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // the fields are narrower on 32 bits
}
