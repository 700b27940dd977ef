package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Whiteouts, by which a layer removes what is in those below it (OCI image
// specification, layer.md).
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// reserve is what of the disk's space and inodes no image may take, as a fraction
// of what is free: a twentieth.
const reserve = 20

// A tree is a root file system that layers are applied to. All that it does goes
// through os.Root, which no name and no link leaves.
type tree struct {
	dir  string
	root *os.Root

	bytes, entries int64           // that may still be unpacked
	fresh          map[string]bool // made by the present layer
	times          []stamp         // of directories, which change as they are filled
}

type stamp struct {
	name string
	at   time.Time
}

func newTree(dir string) (*tree, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return nil, fmt.Errorf("cannot ask for the space that is free: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	t := &tree{dir: dir, root: root}
	t.bytes = int64(s.Bavail) / reserve * (reserve - 1) * int64(s.Bsize)
	t.entries = int64(s.Ffree) / reserve * (reserve - 1)
	if s.Files == 0 { // a file system that makes inodes as they are needed
		t.entries = 1 << 22
	}
	return t, nil
}

func (t *tree) Close() error { return t.root.Close() }

// apply applies a layer.
func (t *tree) apply(ctx context.Context, layer io.Reader) error {
	t.fresh, t.times = map[string]bool{}, nil
	// A stream of nothing but headers, or one that is sparse, is bounded too.
	stream := &bounded{ctx: ctx, r: layer, left: t.bytes + 4096*t.entries}
	if err := eachEntry(stream, t.entry); err != nil {
		return err
	}
	for i := len(t.times) - 1; i >= 0; i-- {
		s := t.times[i]
		if err := t.root.Chtimes(s.name, s.at, s.at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// bounded ends with its context, and fails when there is too much.
type bounded struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

var errFull = errors.New("the image does not fit on the disk")

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errFull
	}
	return n, err
}

func (t *tree) entry(name string, e entry) error {
	if err := t.one(name, e); err != nil {
		return fmt.Errorf("cannot unpack %.80q: %w", name, err)
	}
	return nil
}

func (t *tree) one(name string, e entry) error {
	if base := path.Base(name); strings.HasPrefix(base, whiteout) {
		return t.whiteOut(path.Dir(name), base)
	}
	// The size in the header counts, since a sparse file is large without a
	// long stream.
	t.entries, t.bytes = t.entries-1, t.bytes-e.Size
	if t.entries < 0 || t.bytes < 0 || e.Size < 0 {
		return errFull
	}
	if err := t.makeWay(name, e); err != nil {
		return err
	}
	switch e.Typeflag {
	case tar.TypeDir:
		return t.directory(name, e)
	case tar.TypeReg:
		return t.file(name, e)
	case tar.TypeSymlink:
		return t.symlink(name, e)
	case tar.TypeLink:
		return t.hardLink(name, e)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		// The engine makes those that a container may have; a pipe is made by
		// who uses it.
		return nil
	}
	return fmt.Errorf("it is of a kind %q that no root file system has", e.Typeflag)
}

// makeWay makes the directories above name and removes what an earlier layer, or
// entry, has there, unless both are directories.
func (t *tree) makeWay(name string, e entry) error {
	if name == "." {
		return nil
	}
	if err := t.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	for dir := name; dir != "."; dir = path.Dir(dir) {
		t.fresh[dir] = true
	}
	old, err := t.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || old.IsDir() && e.Typeflag == tar.TypeDir {
		return err
	}
	return t.root.RemoveAll(name)
}

// whiteOut removes a file of the layers below, or all in a directory that this
// layer has not made itself.
func (t *tree) whiteOut(dir, base string) error {
	if base != opaque {
		name := strings.TrimPrefix(base, whiteout)
		if name == "" || name == "." || name == ".." {
			return errors.New("it is no whiteout of anything")
		}
		return t.root.RemoveAll(path.Join(dir, name))
	}
	return t.purge(dir)
}

// purge removes from a directory what this layer has not made.
func (t *tree) purge(dir string) error {
	d, err := t.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case !t.fresh[name]:
			err = errors.Join(err, t.root.RemoveAll(name))
		case e.IsDir():
			err = errors.Join(err, t.purge(name))
		}
	}
	return errors.Join(err, d.Close())
}

func (t *tree) directory(name string, e entry) error {
	if name != "." {
		if err := t.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		t.times = append(t.times, stamp{name, e.ModTime})
	}
	f, err := t.root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(give(f, e), f.Close())
}

func (t *tree) file(name string, e entry) error {
	f, err := t.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, e.content)
	if err == nil {
		err = give(f, e)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return t.root.Chtimes(name, e.ModTime, e.ModTime)
}

func (t *tree) symlink(name string, e entry) error {
	if err := t.root.Symlink(e.Linkname, name); err != nil || !privileged() {
		return err
	}
	return t.root.Lchown(name, e.Uid, e.Gid)
}

// privileged reports whether files can be given to others. Who is not root keeps
// what is its own.
func privileged() bool { return os.Geteuid() == 0 }

// hardLink makes another name of a file, never of one that a link leads to.
func (t *tree) hardLink(name string, e entry) error {
	target, err := cleanName(e.Linkname)
	if err != nil {
		return err
	}
	info, err := t.root.Lstat(target)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("it is a hard link to the directory %.80q", target)
	}
	return t.root.Link(target, name)
}

// xattrPrefix begins the names of PAX records that are extended attributes.
const xattrPrefix = "SCHILY.xattr."

// give gives a file what belongs to it: owner before mode and capabilities, since
// a change of owner takes set-id bits and capabilities away.
func give(f *os.File, e entry) error {
	if privileged() {
		if err := f.Chown(e.Uid, e.Gid); err != nil {
			return err
		}
	}
	if err := f.Chmod(e.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)); err != nil {
		return err
	}
	for key, value := range e.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok || name != "security.capability" && !strings.HasPrefix(name, "user.") {
			continue
		}
		if err := unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("cannot set %s: %w", name, err)
		}
	}
	return nil
}
