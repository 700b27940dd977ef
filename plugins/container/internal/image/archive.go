package image

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Apply applies a tar stream to an existing directory, as a layer.
func Apply(ctx context.Context, archive io.Reader, dir string) error {
	t, err := newTree(dir)
	if err != nil {
		return err
	}
	return errors.Join(t.apply(ctx, archive), t.Close())
}

// Archive writes a directory as a tar stream: files, directories and symbolic
// links, with owners, modes and times.
func Archive(ctx context.Context, dir string, to io.Writer) error {
	w := tar.NewWriter(to)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return archiveOne(w, path, name)
	})
	return errors.Join(err, w.Close())
}

func archiveOne(w *tar.Writer, path, name string) error {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() && !info.IsDir() && info.Mode()&fs.ModeSymlink == 0 {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name, header.Format = name, tar.FormatPAX // with the fractions of times
	if info.IsDir() {
		header.Name += "/"
	}
	if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.LimitReader(f, info.Size()))
	return errors.Join(err, f.Close())
}
