package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// Match makes the directory to, which was linked from the directory from
// earlier, what [Link] would make of an empty one now. It touches only what
// has changed, and where file systems allow looks at nothing else: on a state
// of many files that is a fraction of linking them all.
func Match(ctx context.Context, from, to string) error {
	m := matcher{&copier{link: true}, replica.Numbered(from) && replica.Numbered(to)}
	err := m.begin(from)
	if err == nil {
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

// dir leaves alone files of the same name and number in both directories:
// whether they can be part of a state was looked at when they were linked.
func (m matcher) dir(ctx context.Context, from, to string) error {
	source, news, err := openNames(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, have, err := openNames(to)
	if err != nil {
		return err
	}
	defer target.Close()
	names, olds := differ(news, have, m.numbered && sameDevice(source, target))
	infos, err := look(source, names)
	if err != nil {
		return err
	}
	for i, name := range names {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		old := olds[name]
		delete(olds, name)
		if err := m.one(ctx, infos[i], filepath.Join(from, name), filepath.Join(to, name), old); err != nil {
			return err
		}
	}
	for name := range olds {
		if err := replica.RemoveAll(filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return replica.Give(to, from)
}

// differ returns the names that are to be looked at, and of the old ones those
// that are not known to be the same. If numbers count, files of the same name and
// number are.
func differ(news, have replica.Names, numbers bool) (names []string, olds map[string]bool) {
	olds = map[string]bool{}
	if numbers && news.Equal(have) { // most directories of a large state
		for name, number := range news.All() {
			if number == 0 {
				names, olds[name] = append(names, name), true
			}
		}
		return names, olds
	}
	old := maps.Collect(have.All())
	for name := range old {
		olds[name] = true
	}
	for name, number := range news.All() {
		if numbers && number != 0 && old[name] == number {
			delete(olds, name)
		} else {
			names = append(names, name)
		}
	}
	return names, olds
}

// openNames opens a directory and reads the names in it.
func openNames(dir string) (*os.File, replica.Names, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, replica.Names{}, err
	}
	all, err := replica.ReadNames(f)
	if err != nil {
		return nil, replica.Names{}, errors.Join(err, f.Close())
	}
	return f, all, nil
}

// sameDevice reports whether a number means the same file in both directories:
// parts of a volume may count for themselves.
func sameDevice(a, b *os.File) bool {
	one, err := replica.LookIn(a, ".")
	if err != nil {
		return false
	}
	other, err := replica.LookIn(b, ".")
	return err == nil && one.SameDevice(other)
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
			return m.check(info, from)
		case same && info.Dir():
			if err := m.check(info, from); err != nil {
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
