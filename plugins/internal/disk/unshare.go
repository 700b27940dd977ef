package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// Unshare gives every file of a tree that has names outside of it its own
// copy, so that writing it in place changes nobody else's; names within the
// tree stay those of one file. Each is replaced atomically through the name
// scratch, or one that begins with it, on the same file system but outside of
// the tree. It may be repeated after it was cut off.
func Unshare(ctx context.Context, dir, scratch string) error {
	if err := unshare(ctx, dir, scratch); err != nil {
		return fmt.Errorf("cannot separate %s from its copies: %w", dir, err)
	}
	return nil
}

func unshare(ctx context.Context, dir, scratch string) error {
	files, err := linked(ctx, dir)
	if err != nil {
		return err
	}
	left, _ := filepath.Glob(scratch + "-*") // by a power cut; the pattern is good
	ours := map[replica.Inode]int{}
	for _, name := range left {
		info, err := replica.Look(name)
		if err != nil {
			return err
		}
		ours[info.Inode()] = 1
	}
	for _, file := range files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if len(file.paths)+ours[file.Inode()] >= int(file.Names()) {
			continue
		}
		if err := file.separate(ctx, scratch); err != nil {
			return err
		}
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// A linkedFile is one with several names, and those in the tree.
type linkedFile struct {
	replica.Info
	paths []string
}

// linked finds the files below a directory that have several names.
func linked(ctx context.Context, dir string) ([]*linkedFile, error) {
	info, err := replica.Look(dir)
	if err != nil || !info.Dir() { // a link to somewhere else is not followed
		return nil, err
	}
	l := links{known: map[replica.Inode]*linkedFile{}}
	err = l.find(ctx, dir)
	return l.all, err
}

type links struct {
	all   []*linkedFile
	known map[replica.Inode]*linkedFile
}

func (l *links) find(ctx context.Context, dir string) error {
	f, names, err := list(dir)
	if err != nil {
		return err
	}
	infos, err := look(f, names)
	err = errors.Join(err, f.Close()) // or a deep tree would take too many
	for i := 0; err == nil && i < len(infos); i++ {
		switch info := infos[i]; {
		case info.Mounted(): // somebody else's
		case info.Dir():
			err = l.find(ctx, filepath.Join(dir, names[i]))
		case info.Regular() && info.Names() > 1:
			l.note(info, filepath.Join(dir, names[i]))
		}
	}
	return errors.Join(err, ctx.Err())
}

func (l *links) note(info replica.Info, path string) {
	file := l.known[info.Inode()]
	if file == nil {
		file = &linkedFile{Info: info}
		l.known[info.Inode()] = file
		l.all = append(l.all, file)
	}
	file.paths = append(file.paths, path)
}

// separate replaces all names by those of a copy. Several names need a copy
// that outlives a power cut between them: then it is found again, by inode.
func (f *linkedFile) separate(ctx context.Context, scratch string) error {
	one, done, err := reach(f.paths[0])
	if err != nil {
		return err
	}
	defer done()
	whole := fmt.Sprintf("%s-%d", scratch, f.Inode().Number)
	if len(f.paths) == 1 && !Exists(whole) {
		if err := copySynced(ctx, one, scratch); err != nil {
			return err
		}
		return replaceIn(scratch, one)
	}
	if !equalContent(whole, one) {
		if err := copySynced(ctx, one, scratch); err != nil {
			return err
		}
		if err := Rename(scratch, whole); err != nil {
			return err
		}
	}
	for _, path := range f.paths {
		if err := os.Remove(scratch); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Link(whole, scratch); err != nil {
			return err
		}
		if err := replaceDeep(scratch, path); err != nil {
			return err
		}
	}
	return os.Remove(whole)
}

func replaceDeep(from, to string) error {
	to, done, err := reach(to)
	if err != nil {
		return err
	}
	defer done()
	return replaceIn(from, to)
}

func copySynced(ctx context.Context, from, to string) error {
	if err := replica.Copy(ctx, from, to); err != nil {
		return err
	}
	return durable.Sync(to)
}

// replaceIn renames a file into a directory that keeps its mode and time.
func replaceIn(from, to string) error {
	dir := filepath.Dir(to)
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o300 != 0o300 {
		if err := os.Chmod(dir, info.Mode()|0o700); err != nil {
			return err
		}
	}
	if err := Rename(from, to); err != nil {
		return err
	}
	if info.Mode().Perm()&0o300 != 0o300 {
		if err := os.Chmod(dir, info.Mode()); err != nil {
			return err
		}
	}
	return os.Chtimes(dir, info.ModTime(), info.ModTime())
}
