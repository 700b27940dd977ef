package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// Copy copies the content of one directory into another, which is made if it
// is missing. All that [replica.Give] gives is kept, of both directories and
// files, and so are holes, symbolic links, and which names are hard links of
// one file. Pipes and sockets are left out. A device, a mount point, an
// immutable file or too long a name is an error, and so is such a directory
// itself. Where the file system can,
// copies share their blocks. The caller syncs.
func Copy(ctx context.Context, from, to string) error {
	return duplicate(ctx, from, to, &copier{})
}

// Link is Copy with hard links instead of copies, which costs no space and
// hardly any time. Between file systems it copies.
func Link(ctx context.Context, from, to string) error {
	return duplicate(ctx, from, to, &copier{link: true})
}

// LinkLive is Link for a directory that changes meanwhile: what disappears
// while it is linked is left out. Files that are written in place change in
// both directories. Whoever is not root gets directories that it can change.
func LinkLive(ctx context.Context, from, to string) error {
	return duplicate(ctx, from, to, &copier{link: true, live: true})
}

// A copier makes one directory from another.
type copier struct {
	link  bool // rather than copy
	live  bool // the source changes meanwhile
	from  string
	root  replica.Info
	first map[replica.Inode]string // where a file with several names was copied to
}

func duplicate(ctx context.Context, from, to string, c *copier) error {
	err := c.begin(from)
	if err == nil {
		err = c.dir(ctx, from, to)
	}
	if err != nil {
		return fmt.Errorf("cannot copy %s: %w", from, err)
	}
	return nil
}

// begin looks at the directory that is to be copied.
func (c *copier) begin(from string) (err error) {
	c.from, c.first = from, map[replica.Inode]string{}
	c.root, err = replica.Root(from)
	return err
}

// check returns why a file below that cannot be copied.
func (c *copier) check(info replica.Info, path string) error {
	if err := replica.CheckName(strings.TrimPrefix(path, c.from+"/")); err != nil {
		return err
	}
	return info.Check(path, c.root)
}

// dir copies what is in a directory, then what belongs to it.
func (c *copier) dir(ctx context.Context, from, to string) error {
	source, names, err := list(from)
	if err != nil {
		return c.vanished(from, err)
	}
	defer source.Close()
	if err := writable(to); err != nil {
		return err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		path := filepath.Join(from, name)
		info, err := replica.LookIn(source, name)
		if err == nil {
			err = c.one(ctx, info, path, filepath.Join(to, name))
		}
		if err := c.vanished(path, err); err != nil {
			return err
		}
	}
	return c.finish(from, to)
}

// writable makes a directory, or makes it one that can be filled.
func writable(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return os.Chmod(dir, 0o700)
	}
	return err
}

// finish gives a directory that is filled what belongs to it.
func (c *copier) finish(from, to string) error {
	if err := replica.Give(to, from); err != nil {
		return c.vanished(from, err)
	}
	if c.live && os.Geteuid() != 0 {
		info, err := os.Lstat(to)
		if err != nil {
			return err
		}
		return os.Chmod(to, info.Mode().Perm()|0o700)
	}
	return nil
}

// vanished forgives that an entry of a live directory has disappeared.
func (c *copier) vanished(path string, err error) error {
	if c.live && errors.Is(err, fs.ErrNotExist) && !Exists(path) {
		return nil
	}
	return err
}

// one makes the copy of an entry, of which there is none yet.
func (c *copier) one(ctx context.Context, info replica.Info, from, to string) error {
	if err := c.check(info, from); err != nil {
		return err
	}
	switch {
	case info.Passing():
		return nil
	case info.Dir():
		return c.dir(ctx, from, to)
	case c.link && info.Regular() && os.Link(from, to) == nil:
		return nil
	case info.Names() < 2:
		return replica.Copy(ctx, from, to)
	}
	first, again := c.first[info.Inode()]
	if again {
		return os.Link(first, to)
	}
	c.first[info.Inode()] = to
	return replica.Copy(ctx, from, to)
}
