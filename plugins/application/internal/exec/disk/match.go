package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Match makes the directory to, which was linked from the directory from
// earlier, what [Link] would make of an empty one now. It touches only what
// has changed: on a state of many files that is a fraction of linking them
// all.
func Match(ctx context.Context, from, to string) error {
	if err := match(ctx, from, to); err != nil {
		return fmt.Errorf("cannot bring %s up to date: %w", to, err)
	}
	return nil
}

func match(ctx context.Context, from, to string) error {
	source, names, err := list(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, old, err := list(to)
	if err != nil {
		return err
	}
	defer target.Close()
	stale := make(map[string]bool, len(old))
	for _, name := range old {
		stale[name] = true
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m := matching{from: filepath.Join(from, name), to: filepath.Join(to, name), have: stale[name]}
		delete(stale, name)
		if err := unix.Fstatat(int(source.Fd()), name, &m.new, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if m.have {
			if err := unix.Fstatat(int(target.Fd()), name, &m.old, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
		}
		if err := m.one(ctx); err != nil {
			return err
		}
	}
	for name := range stale {
		if err := os.RemoveAll(filepath.Join(to, name)); err != nil {
			return err
		}
	}
	info, err := source.Stat()
	if err != nil {
		return err
	}
	return target.Chmod(info.Mode().Perm() | 0o700)
}

func list(dir string) (*os.File, []string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, names, nil
}

// A matching is one name in both directories.
type matching struct {
	from, to string
	have     bool // there is an old one
	new, old unix.Stat_t
}

func (m *matching) one(ctx context.Context) error {
	kind := m.new.Mode & unix.S_IFMT
	same := m.have && kind == m.old.Mode&unix.S_IFMT
	switch {
	case same && kind == unix.S_IFREG && m.new.Dev == m.old.Dev && m.new.Ino == m.old.Ino:
		return nil
	case same && kind == unix.S_IFDIR:
		return match(ctx, m.from, m.to)
	case m.have:
		if err := os.RemoveAll(m.to); err != nil {
			return err
		}
	}
	if kind == unix.S_IFDIR {
		if err := os.Mkdir(m.to, 0o700); err != nil {
			return err
		}
		return match(ctx, m.from, m.to)
	}
	info, err := os.Lstat(m.from)
	if err != nil {
		return err
	}
	return duplicateOne(m.from, m.to, info, linkFile)
}
