package replica

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Copy copies a file, or a symbolic link, with all that belongs to it. The new
// name may be taken by a half done copy. Nothing is brought to the disk.
func Copy(from, to string) error {
	info, err := Look(from)
	if err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info.Symlink() {
		err = copyLink(from, to)
	} else {
		err = copyFile(from, to)
	}
	if err != nil {
		return err
	}
	return info.give(to, from)
}

func copyLink(from, to string) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	return os.Symlink(target, to)
}

func copyFile(from, to string) error {
	source, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(Content(target, source), target.Close())
}

// Content copies the bytes of a file into an empty one. Holes stay holes, and
// where the file system can, blocks are shared (the kernel's
// copy_file_range).
func Content(to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if !sparse(info) {
		_, err := io.Copy(to, from)
		return err
	}
	return copyData(to, from, info.Size())
}

// sparse reports whether a file has fewer blocks than its size needs.
func sparse(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Blocks*512 < info.Size()
}

// copyData copies what lies between the holes.
func copyData(to, from *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, err := from.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // a hole until the end
			break
		}
		if err != nil {
			return err
		}
		hole, err := from.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := from.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := to.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(to, from, hole-data); err != nil {
			return err
		}
		at = hole
	}
	return to.Truncate(size)
}
