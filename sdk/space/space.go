// Package space tells what a disk has left for whoever must leave some of it
// free.
package space

import (
	"fmt"
	"math"
	"syscall"
)

// Reserve is what stays free of a disk unless somebody decides otherwise, bytes.
const Reserve = 16 << 20

// A Room is what may be written.
type Room struct {
	Bytes int64
	Files int64 // files and directories: they take an inode each
}

// Left returns what the file system of dir has for others than the reserve,
// which is so many bytes, and the same share of the inodes. Either may be
// negative.
func Left(dir string, reserve int64) (Room, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return Room{}, fmt.Errorf("cannot ask %s what it has free: %w", dir, err)
	}
	block := int64(s.Bsize) //nolint:unconvert // other widths on other systems
	return left(uint64(s.Blocks)*uint64(block), s.Files, int64(s.Bavail)*block, s.Ffree, reserve), nil
}

// left is Left of a file system with so many bytes and inodes. One that makes
// inodes as it needs them says that it has none.
func left(bytes, inodes uint64, freeBytes int64, freeInodes uint64, reserve int64) Room {
	r := Room{Bytes: freeBytes - reserve, Files: math.MaxInt64}
	if inodes == 0 {
		return r
	}
	share := min(1, float64(reserve)/float64(max(1, bytes)))
	r.Files = int64(min(freeInodes, math.MaxInt64)) - int64(share*float64(min(inodes, 1<<62)))
	return r
}

// Less returns the room that is left when other is taken.
func (r Room) Less(other Room) Room {
	return Room{Bytes: r.Bytes - other.Bytes, Files: r.Files - other.Files}
}

// Of returns as much of want as there is room for.
func (r Room) Of(want Room) Room {
	return Room{Bytes: max(0, min(r.Bytes, want.Bytes)), Files: max(0, min(r.Files, want.Files))}
}
