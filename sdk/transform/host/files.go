package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// An entry is a file or directory of a state, with its slash path.
type entry struct {
	path  string
	mode  fs.FileMode
	size  int64 // 0 for directories
	given File  // what the caller knows of it
}

var errSpecial = errors.New("is neither a file nor a directory")

// list returns what lies below root, each directory before its content, in
// lexical order.
func list(ctx context.Context, root *os.Root) ([]entry, error) {
	var entries []entry
	err := fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{path: path, mode: info.Mode()}
		switch {
		case info.Mode().IsRegular():
			e.size = info.Size()
		case !info.IsDir():
			return fmt.Errorf("%s %w", path, errSpecial)
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read state: %w", err)
	}
	return entries, nil
}

func (e entry) regular() bool { return e.mode.IsRegular() }

// makeDirs makes the directories of a state writable for now.
func (s *stage) makeDirs(ctx context.Context) error {
	var dirs int64
	for _, e := range s.entries {
		if e.mode.IsDir() {
			dirs++
		}
	}
	release, err := s.take(ctx, 0, dirs)
	if err != nil {
		return err
	}
	defer release()
	for _, e := range s.entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if e.mode.IsDir() && e.path != "." {
			if err := s.out.Mkdir(e.path, 0o700); err != nil {
				return err
			}
		}
	}
	return nil
}

// finishDirs gives directories their modes, children first, and makes the
// names in them durable.
func finishDirs(ctx context.Context, out *os.Root, entries []entry, durable bool) error {
	for _, e := range slices.Backward(entries) {
		if !e.mode.IsDir() {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		dir, err := out.Open(e.path)
		if err != nil {
			return err
		}
		err = dir.Chmod(e.mode.Perm())
		if durable {
			err = errors.Join(err, dir.Sync())
		}
		if err := errors.Join(err, dir.Close()); err != nil {
			return err
		}
	}
	return nil
}

// create makes a new file of the state that can be read again.
func create(out *os.Root, path string) (*os.File, error) {
	return out.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// finish gives a file its mode, makes it durable and closes it.
func finish(f *os.File, mode fs.FileMode, durable bool) error {
	err := f.Chmod(mode.Perm())
	if durable {
		err = errors.Join(err, f.Sync())
	}
	return errors.Join(err, f.Close())
}

// copyFile copies a file with its holes; where the file system can, without
// copying its blocks. It is no hard link: the component may write to either later.
func (s *stage) copyFile(ctx context.Context, e entry) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	from, err := s.in.Open(e.path)
	if err != nil {
		return err
	}
	defer from.Close()
	size, err := written(from)
	if err != nil {
		return err
	}
	release, err := s.take(ctx, size, 1)
	if err != nil {
		return err
	}
	defer release()
	to, err := create(s.out, e.path)
	if err != nil {
		return err
	}
	err = replica.Content(ctx, to, from)
	return errors.Join(err, finish(to, e.mode, s.last))
}

// written returns how many bytes of a file are no holes.
func written(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return min(info.Size(), s.Blocks*512), nil
	}
	return info.Size(), nil
}
