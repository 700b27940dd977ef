package replica

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Copy copies a file, or a symbolic link, with all that belongs to it. The new
// name may be taken by a half done copy. Nothing is brought to the disk.
func Copy(ctx context.Context, from, to string) error {
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
		err = copyFile(ctx, from, to)
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

func copyFile(ctx context.Context, from, to string) error {
	source, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(Content(ctx, target, source), target.Close())
}

// Content copies the bytes of a file into an empty one, until ctx ends. Holes
// stay holes, and where the file system can, blocks are shared (the kernel's
// copy_file_range).
func Content(ctx context.Context, to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if !sparse(info) {
		_, err := Bytes(ctx, to, from, math.MaxInt64)
		return err
	}
	return copyData(ctx, to, from, info.Size())
}

// span is how many bytes are copied between two looks at the context.
const span = 1 << 20

// Bytes appends as many bytes to a file as there are left in another one, and
// at most so many. It returns how many it has copied when ctx ended.
func Bytes(ctx context.Context, to, from *os.File, most int64) (copied int64, err error) {
	for copied < most {
		if ctx.Err() != nil {
			return copied, context.Cause(ctx)
		}
		n, err := io.CopyN(to, from, min(span, most-copied))
		copied += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return copied, err
		}
	}
	return copied, nil
}

// sparse reports whether a file has fewer blocks than its size needs.
func sparse(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Blocks*512 < info.Size()
}

// copyData copies what lies between the holes.
func copyData(ctx context.Context, to, from *os.File, size int64) error {
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
		n, err := Bytes(ctx, to, from, hole-data)
		if err == nil && n < hole-data {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		at = hole
	}
	return to.Truncate(size)
}
