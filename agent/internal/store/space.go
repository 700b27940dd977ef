package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Badger writes through mapped memory: on a full disk that ends the process
// with SIGBUS, where an error could be told. So a write begins only if there
// is room for the worst that it can cause: what a compaction writes before it
// removes what it has read, a new memory table, and the table that the full one
// becomes. That last one is written in the background, so it is counted twice. And
// since a journal must be written also when something else has filled the
// disk, some room is kept for that in a file, and given up then.
//
// What remains: if something else takes the last room just while badger writes
// a table, the process ends. The journal is whole then, and the next process
// finds a full disk when it opens the store, which is an error again.
const (
	roomNeeded  = 10 << 20 // bytes
	ballastSize = 20 << 20
	ballastName = "ballast"
)

// makeRoom returns an error if a write could meet a full disk.
func makeRoom(dir string) error {
	ballast := filepath.Join(filepath.Dir(dir), ballastName)
	free, err := freeBytes(dir)
	if err == nil && free < roomNeeded {
		if err = os.Remove(ballast); err == nil || errors.Is(err, os.ErrNotExist) {
			free, err = freeBytes(dir)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("cannot tell whether there is room: %w", err)
	case free < roomNeeded:
		return fmt.Errorf("the disk is full (%d bytes are free, %d needed): free some space", free, roomNeeded)
	case free > ballastSize+2*roomNeeded:
		if err := keepBallast(ballast); err != nil {
			return err
		}
	}
	return back(dir)
}

func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// keepBallast makes the file that holds the room, unless it is there.
func keepBallast(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot keep room for the store: %w", err)
	}
	defer f.Close()
	if err := allocate(f, ballastSize); err != nil {
		return errors.Join(fmt.Errorf("cannot keep room for the store: %w", err), os.Remove(path))
	}
	return nil
}

// allocate gives a file its space, if it has not got that yet.
func allocate(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Blocks*512 >= size {
		return nil
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // such a file system must be kept from filling up
	}
	return err
}

// back gives the files that badger maps into memory, and makes sparse, their
// space on the disk.
func back(dir string) error {
	for _, pattern := range []string{"*.mem", "*.vlog", "DISCARD"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		for _, path := range paths {
			err = errors.Join(err, backFile(path))
		}
		if err != nil {
			return fmt.Errorf("no room for the store, free some space: %w", err)
		}
	}
	return nil
}

func backFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // badger has just removed it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return allocate(f, info.Size())
}
