package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tranquil-iot/tranquil/sdk/replica"
	"golang.org/x/sys/unix"
)

// An entry is a file, directory or something else as the file system says.
type entry struct {
	path string // slash path below the root of the walk, which is "."
	stat unix.Stat_t
}

func (e *entry) isDir() bool   { return e.stat.Mode&unix.S_IFMT == unix.S_IFDIR }
func (e *entry) regular() bool { return e.stat.Mode&unix.S_IFMT == unix.S_IFREG }

func (e *entry) symlink() bool { return e.stat.Mode&unix.S_IFMT == unix.S_IFLNK }

func (e *entry) mode() fs.FileMode {
	mode := fs.FileMode(e.stat.Mode & 0o777)
	switch {
	case e.isDir():
		mode |= fs.ModeDir
	case e.symlink():
		mode |= fs.ModeSymlink
	case !e.regular():
		mode |= fs.ModeIrregular
	}
	return mode
}

func (e *entry) identify() (inode, identity) {
	return inode{e.stat.Dev, e.stat.Ino}, identity{e.stat.Size, e.stat.Mtim.Nano(), e.stat.Ctim.Nano()} //nolint:unconvert // other widths on other systems
}

// walk calls f for everything below a directory, as [fs.WalkDir] does: each
// directory before its content, in lexical order. It looks names up in their
// directories rather than from the root, which is what most of the time of a
// walk goes into; on 10 000 files it takes a third of it.
func walk(root string, f func(*entry) error) error { return walker{f: f}.walk(root) }

// A walker spares itself the look at files that are still what they were at an
// earlier one, if they are where they were.
type walker struct {
	f     func(*entry) error
	still map[string]unix.Stat_t // by path; nil: look at all
}

func (w walker) walk(root string) error {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: root, Err: err}
	}
	e := &entry{path: "."}
	if err := unix.Fstat(fd, &e.stat); err != nil {
		return errors.Join(&fs.PathError{Op: "stat", Path: root, Err: err}, unix.Close(fd))
	}
	return w.dir(fd, e)
}

// list returns what is in a directory, by name.
func (w walker) list(dir *os.File, e *entry) ([]entry, error) {
	if w.still == nil {
		names, err := dir.Readdirnames(-1)
		if err != nil {
			return nil, fmt.Errorf("cannot list %s: %w", e.path, err)
		}
		slices.Sort(names)
		return look(int(dir.Fd()), e.path, names)
	}
	numbers, err := replica.Numbers(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", e.path, err)
	}
	all := make([]entry, 0, len(numbers))
	var names []string
	for name, number := range numbers {
		file := path.Join(e.path, name)
		if s, ok := w.still[file]; ok && number == s.Ino && e.stat.Dev == s.Dev {
			all = append(all, entry{file, s})
		} else {
			names = append(names, name)
		}
	}
	others, err := look(int(dir.Fd()), e.path, names)
	all = append(all, others...)
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return all, err
}

// seen looks at all files below a directory. It returns nothing where directories
// do not tell later whether the same files are in them.
func seen(root string) (map[string]unix.Stat_t, error) {
	if !replica.Numbered(root) {
		return nil, nil
	}
	all := map[string]unix.Stat_t{}
	return all, walk(root, func(e *entry) error {
		if e.regular() {
			all[e.path] = e.stat
		}
		return nil
	})
}

// A share is how many names of a directory are worth a thread.
const share = 32

// look looks up all names in a directory, on all processors: that is most of
// the time of a walk.
func look(fd int, dir string, names []string) ([]entry, error) {
	entries, errs := make([]entry, len(names)), make([]error, runtime.GOMAXPROCS(0))
	var taken atomic.Int64
	var group sync.WaitGroup
	some := func(failed *error) {
		for *failed == nil {
			end := int(taken.Add(share))
			for i := end - share; i < min(end, len(names)); i++ {
				e := &entries[i]
				e.path = path.Join(dir, names[i])
				if err := unix.Fstatat(fd, names[i], &e.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
					*failed = &fs.PathError{Op: "stat", Path: e.path, Err: err}
					return
				}
			}
			if end >= len(names) {
				return
			}
		}
	}
	for i := 1; i < min(len(errs), (len(names)+share-1)/share); i++ {
		group.Go(func() { some(&errs[i]) })
	}
	some(&errs[0])
	group.Wait()
	return entries, errors.Join(errs...)
}

// dir closes fd, which is the directory e.
func (w walker) dir(fd int, e *entry) (err error) {
	dir := os.NewFile(uintptr(fd), e.path)
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := w.f(e); err != nil {
		return err
	}
	entries, err := w.list(dir, e)
	if err != nil {
		return err
	}
	for i := range entries {
		next := &entries[i]
		if !next.isDir() {
			if err := w.f(next); err != nil {
				return err
			}
			continue
		}
		sub, err := unix.Openat(fd, path.Base(next.path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return &fs.PathError{Op: "open", Path: next.path, Err: err}
		}
		if err := w.dir(sub, next); err != nil {
			return err
		}
	}
	return nil
}
