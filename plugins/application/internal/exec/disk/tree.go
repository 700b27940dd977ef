package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Copy copies the content of one directory into another, which is made if it
// is missing. Modes and modification times are kept; sockets, pipes and
// devices are left out. Where the file system can, copies share their blocks
// (the kernel's copy_file_range). The caller syncs.
func Copy(ctx context.Context, from, to string) error {
	return duplicate(ctx, from, to, copyFile)
}

// Link is Copy with hard links instead of copies, which costs no space and
// hardly any time. Between file systems it copies.
func Link(ctx context.Context, from, to string) error {
	return duplicate(ctx, from, to, linkFile)
}

// LinkLive is Link for a directory that changes meanwhile: what disappears
// while it is linked is left out. Files that are written in place change in
// both directories.
func LinkLive(ctx context.Context, from, to string) error {
	return duplicate(ctx, from, to, func(from, to string, info fs.FileInfo) error {
		err := linkFile(from, to, info)
		if errors.Is(err, fs.ErrNotExist) && !Exists(from) {
			os.Remove(to)
			return nil
		}
		return err
	})
}

func linkFile(from, to string, info fs.FileInfo) error {
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to, info)
}

type fileFunc func(from, to string, info fs.FileInfo) error

func duplicate(ctx context.Context, from, to string, file fileFunc) error {
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return vanished(path, from, err)
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return vanished(path, from, err)
		}
		return duplicateOne(path, filepath.Join(to, rel), info, file)
	})
	if err != nil {
		return fmt.Errorf("cannot copy %s: %w", from, err)
	}
	return nil
}

// vanished forgives that an entry disappeared between the listing of its
// directory and the look at it; a missing root is an error.
func vanished(path, root string, err error) error {
	if path != root && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func duplicateOne(from, to string, info fs.FileInfo, file fileFunc) error {
	switch info.Mode().Type() {
	case fs.ModeDir:
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		return os.Chmod(to, info.Mode().Perm()|0o700) // we must be able to fill it
	case fs.ModeSymlink:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case 0:
		return file(from, to, info)
	}
	return nil
}

func copyFile(from, to string, info fs.FileInfo) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	err = errors.Join(err, target.Chmod(info.Mode().Perm()), target.Close())
	if err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}

// Unshare gives every file of a tree that has more than one hard link its own
// copy, so that writing it in place changes nobody else's. Each file is
// replaced atomically through the name scratch, on the same file system
// but outside of the tree.
func Unshare(ctx context.Context, dir, scratch string) error {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return errors.Join(err, ctx.Err())
		}
		info, err := entry.Info()
		if err != nil || links(info) < 2 {
			return errors.Join(err, ctx.Err())
		}
		return errors.Join(ctx.Err(), replaceByCopy(path, scratch, info))
	})
	if err != nil {
		return fmt.Errorf("cannot separate %s from its copies: %w", dir, err)
	}
	return nil
}

func replaceByCopy(path, scratch string, info fs.FileInfo) error {
	if err := copyFile(path, scratch, info); err != nil {
		return err
	}
	if err := syncPath(scratch); err != nil {
		return err
	}
	return Rename(scratch, path)
}

func links(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink)
	}
	return 1
}
