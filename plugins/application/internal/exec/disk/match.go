package disk

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// Match makes the directory to, which was linked from the directory from
// earlier, what [Link] would make of an empty one now. It touches only what
// has changed: on a state of many files that is a fraction of linking them
// all.
func Match(ctx context.Context, from, to string) error {
	root, err := replica.Look(from)
	if err == nil {
		err = match(ctx, &copier{link: true, root: root, first: map[replica.Inode]string{}}, from, to)
	}
	if err != nil {
		return fmt.Errorf("cannot bring %s up to date: %w", to, err)
	}
	return nil
}

func match(ctx context.Context, c *copier, from, to string) error {
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
	news, err := look(source, names)
	if err != nil {
		return err
	}
	olds, err := look(target, old)
	if err != nil {
		return err
	}
	stale := make(map[string]replica.Info, len(old))
	for i, name := range old {
		stale[name] = olds[i]
	}
	for i, name := range names {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m := matching{copier: c, from: filepath.Join(from, name), to: filepath.Join(to, name), new: news[i]}
		m.old, m.have = stale[name]
		delete(stale, name)
		if err := m.one(ctx); err != nil {
			return err
		}
	}
	for name := range stale {
		if err := replica.RemoveAll(filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return replica.Give(to, from)
}

// A matching is one name in both directories.
type matching struct {
	*copier
	from, to string
	have     bool // there is an old one
	new, old replica.Info
}

func (m *matching) one(ctx context.Context) error {
	same := m.have && m.new.SameKind(m.old)
	switch {
	case same && m.new.Regular() && m.new.Inode() == m.old.Inode():
		return m.new.Check(m.from, m.root)
	case same && m.new.Dir():
		if err := m.new.Check(m.from, m.root); err != nil {
			return err
		}
		return match(ctx, m.copier, m.from, m.to)
	case m.have:
		if err := replica.RemoveAll(m.to); err != nil {
			return err
		}
	}
	return m.copier.one(ctx, m.new, m.from, m.to)
}
