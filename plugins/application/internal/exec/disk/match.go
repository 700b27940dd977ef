package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// Match makes the directory to, which was linked from the directory from
// earlier, what [Link] would make of an empty one now. It touches only what
// has changed: on a state of many files that is a fraction of linking them
// all. Where file systems allow, it looks at each file once, not behind both
// of its names.
func Match(ctx context.Context, from, to string) error {
	root, err := replica.Look(from)
	if err == nil {
		m := matcher{&copier{link: true, root: root, first: map[replica.Inode]string{}}, numbered(to)}
		err = m.dir(ctx, from, to)
	}
	if err != nil {
		return fmt.Errorf("cannot bring %s up to date: %w", to, err)
	}
	return nil
}

type matcher struct {
	*copier
	numbered bool
}

func (m matcher) dir(ctx context.Context, from, to string) error {
	source, names, err := list(from)
	if err != nil {
		return err
	}
	defer source.Close()
	news, err := look(source, names)
	if err != nil {
		return err
	}
	old, err := m.open(to)
	if err != nil {
		return err
	}
	defer old.Close()
	for i, name := range names {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		number, have := old.names[name]
		delete(old.names, name)
		if have && old.is(number, news[i]) {
			err = news[i].Check(filepath.Join(from, name), m.root)
		} else {
			err = m.one(ctx, news[i], filepath.Join(from, name), filepath.Join(to, name), have)
		}
		if err != nil {
			return err
		}
	}
	for name := range old.names {
		if err := replica.RemoveAll(filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return replica.Give(to, from)
}

// An earlier is a directory as it was linked.
type earlier struct {
	*os.File
	info  replica.Info
	names map[string]uint64 // and inodes of files, or 0
}

func (m matcher) open(dir string) (e earlier, err error) {
	e.File, err = os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return e, err
	}
	if e.info, err = replica.LookIn(e.File, "."); err == nil {
		e.names, err = numbers(e.File)
	}
	if err != nil {
		return e, errors.Join(err, e.Close())
	}
	if !m.numbered {
		for name := range e.names {
			e.names[name] = 0
		}
	}
	return e, nil
}

// is reports whether a file is the one of that number. On another device, as a
// mount point or part of a volume may be, it is not.
func (e earlier) is(number uint64, file replica.Info) bool {
	return number != 0 && file.Regular() && file.Inode() == e.info.Inode().Sibling(number)
}

// one makes what has changed, or may have.
func (m matcher) one(ctx context.Context, info replica.Info, from, to string, have bool) error {
	if have {
		old, err := replica.Look(to)
		if err != nil {
			return err
		}
		same := info.SameKind(old)
		switch {
		case same && info.Regular() && info.Inode() == old.Inode():
			return info.Check(from, m.root)
		case same && info.Dir():
			if err := info.Check(from, m.root); err != nil {
				return err
			}
			return m.dir(ctx, from, to)
		}
		if err := replica.RemoveAll(to); err != nil {
			return err
		}
	}
	return m.copier.one(ctx, info, from, to)
}
