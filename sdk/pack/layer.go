package pack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Compress is the one compressor of artifact layers: the same content makes the
// same bytes, on any machine and whatever the pieces are that it is written in. It
// is a pinned module, since the toolchain's own may change. Deltas rely on it: see
// SPEC.md, section 10.
func Compress(w io.Writer) (io.WriteCloser, error) {
	return gzip.NewWriterLevel(w, gzip.BestCompression)
}

// packLayer writes the file or directory at path to w as an artifact layer,
// and returns the bytes of its files. The result depends on names, contents,
// the owner's executable bits and symlinks only, not on the machine.
func packLayer(w io.Writer, path string) (unpacked int64, err error) {
	zw, err := Compress(w)
	if err != nil {
		return 0, err
	}
	l := &layerWriter{tar: tar.NewWriter(zw)}
	info, err := os.Stat(path) // the path itself may be a symlink
	if err != nil {
		return 0, err
	}
	if info.IsDir() {
		err = l.addTree(path)
	} else {
		err = l.add(path, filepath.Base(path), info)
	}
	if err == nil && l.files == 0 {
		err = fmt.Errorf("%s holds no files", path)
	}
	return l.unpacked, errors.Join(err, l.tar.Close(), zw.Close())
}

type layerWriter struct {
	tar      *tar.Writer
	files    int
	unpacked int64
}

// addTree adds what is below root, in the order of names.
func (l *layerWriter) addTree(root string) error {
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return l.add(path, filepath.ToSlash(name), info)
	})
}

func (l *layerWriter) add(path, name string, info fs.FileInfo) error {
	header := &tar.Header{Name: name, Mode: 0o644, ModTime: time.Unix(0, 0)}
	switch {
	case info.IsDir():
		header.Typeflag, header.Name, header.Mode = tar.TypeDir, name+"/", 0o755
		return l.tar.WriteHeader(header)
	case info.Mode().Type() == fs.ModeSymlink:
		return l.addLink(path, header)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: only files, directories and symlinks can be packed", path)
	case info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0:
		return fmt.Errorf("%s: files with setuid or setgid cannot be packed", path)
	}
	if info.Mode()&0o100 != 0 {
		header.Mode = 0o755
	}
	header.Typeflag, header.Size = tar.TypeReg, info.Size()
	return l.addFile(path, header)
}

func (l *layerWriter) addFile(path string, header *tar.Header) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := l.tar.WriteHeader(header); err != nil {
		return err
	}
	n, err := io.Copy(l.tar, f)
	if err == nil && n != header.Size {
		err = errors.New("shrank")
	}
	if err != nil {
		return fmt.Errorf("%s changed while it was packed: %w", path, err)
	}
	l.files++
	l.unpacked += n
	return nil
}

func (l *layerWriter) addLink(path string, header *tar.Header) error {
	target, err := os.Readlink(path)
	if err != nil {
		return err
	}
	header.Typeflag, header.Linkname = tar.TypeSymlink, filepath.ToSlash(target)
	if err := checkLink(header.Name, header.Linkname); err != nil {
		return err
	}
	l.files++
	return l.tar.WriteHeader(header)
}

// checkLink reports symlinks that could lead out of the directory: absolute
// ones, those with more leading ".." than the link is deep, and those with a
// ".." further on, which would be taken from wherever another link leads.
func checkLink(name, target string) error {
	up := 0
	rest := target
	for strings.HasPrefix(rest, "../") || rest == ".." {
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, ".."), "/")
		up++
	}
	inside := !strings.HasPrefix(rest, "/") && up <= strings.Count(name, "/")
	for _, part := range strings.Split(rest, "/") {
		inside = inside && part != ".."
	}
	if !inside || target == "" || len(target) > maxText || strings.ContainsRune(target, 0) {
		return fmt.Errorf("symlink %.80q → %.80q leads out of the directory", name, target)
	}
	return nil
}
