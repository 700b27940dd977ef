package host

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// room returns how many bytes results may still take of their disk.
func (r *run) room() (int64, error) {
	if r.host.Reserve == 0 {
		return math.MaxInt64, nil
	}
	var s unix.Statfs_t
	if err := unix.Statfs(r.work, &s); err != nil {
		return 0, fmt.Errorf("cannot ask %s what it has free: %w", r.work, err)
	}
	return int64(s.Bavail)*int64(s.Bsize) - r.host.Reserve, nil //nolint:unconvert // other widths on other systems
}

// take fails unless there is room for so many bytes more.
func (r *run) take(bytes int64) error {
	left, err := r.room()
	if err == nil && left < bytes {
		return r.full()
	}
	return err
}

func (r *run) full() *Error {
	return &Error{Class: ResourceLimit, Reason: fmt.Sprintf("cannot write the result: %v but %d bytes, which are to stay free: free some of the disk", unix.ENOSPC, r.host.Reserve)}
}
