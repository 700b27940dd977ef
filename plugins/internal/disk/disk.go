// Package disk moves files and directory trees so that they survive a power
// cut: what a function here has finished is on the disk, names included, and
// what it has not finished is never seen under its final name.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// Exists reports whether anything has that name.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Together reports whether two directories are on the same file system, so that
// [Sync] of one brings the other to the disk as well.
func Together(a, b string) bool {
	one, err := replica.Look(a)
	if err != nil {
		return false
	}
	other, err := replica.Look(b)
	return err == nil && one.SameDevice(other)
}

// WriteFile replaces a file atomically and durably.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	if err := Replace(path, data, mode); err != nil {
		return err
	}
	return durable.Sync(filepath.Dir(path))
}

// Replace is WriteFile, except that the name is not on the disk yet: after a
// power cut it may be the file that was there. The next [Rename] in the same
// directory brings it there, and not before this one; so do [SyncNames] and
// [Sync].
func Replace(path string, data []byte, mode fs.FileMode) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return Move(temp, path)
}

// SyncNames brings to the disk which names are in a directory.
func SyncNames(dir string) error { return durable.Sync(dir) }

// Symlink makes name a symbolic link to target, replacing another atomically.
func Symlink(target, name string) error {
	temp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".new")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	return Rename(temp, name)
}

// Move renames, which is on the disk as [Replace] is. It is not held up, with
// the rights for it, by a file or directory that is immutable or can only be
// appended to, or on which something is mounted: a version that makes its state so
// must not keep the one before it from coming back. It is so no longer then.
func Move(from, to string) error {
	err := os.Rename(from, to)
	clear := replica.Unpin
	switch {
	case errors.Is(err, unix.EBUSY):
		clear = replica.Detach
	case !errors.Is(err, fs.ErrPermission):
		return err
	}
	cleared := clear(from)
	if Exists(to) {
		cleared = errors.Join(cleared, clear(to))
	}
	if cleared != nil {
		return fmt.Errorf("%w (%w)", err, cleared)
	}
	return os.Rename(from, to)
}

// Rename is [Move], durably.
func Rename(from, to string) error {
	if err := Move(from, to); err != nil {
		return err
	}
	if filepath.Dir(from) != filepath.Dir(to) {
		if err := durable.Sync(filepath.Dir(from)); err != nil {
			return err
		}
	}
	return durable.Sync(filepath.Dir(to))
}

// Remove removes a tree so that its name disappears at once: a power cut in
// the middle leaves no half of it under that name. Removing what is not there
// succeeds.
func Remove(path string) error {
	gone := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".gone")
	if err := replica.RemoveAll(gone); err != nil {
		return err
	}
	if err := Rename(path, gone); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return replica.RemoveAll(gone)
}

// Sync brings a tree to the disk: files, directories and names. It does so for
// the whole file system, in one call: to ask for each file takes seconds where
// there are many, even if nothing is left to be written.
func Sync(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot bring %s to the disk: %w", dir, err)
	}
	if err := errors.Join(unix.Syncfs(int(f.Fd())), f.Close()); err != nil {
		return fmt.Errorf("cannot bring %s to the disk: %w", dir, err)
	}
	return nil
}
