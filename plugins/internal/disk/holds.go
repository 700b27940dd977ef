package disk

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Holds reports whether every file of the tree want is in dir as well, with
// the same content and mode. What else is in dir does not count.
func Holds(dir, want string) (bool, error) {
	same := true
	err := filepath.WalkDir(want, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(want, path)
		if err != nil {
			return err
		}
		if same, err = equal(path, filepath.Join(dir, rel)); err == nil && !same {
			err = fs.SkipAll
		}
		return err
	})
	return same, err
}

func equal(a, b string) (bool, error) {
	one, err := os.Lstat(a)
	if err != nil {
		return false, err
	}
	other, err := os.Lstat(b)
	if err != nil || one.Mode() != other.Mode() {
		return false, nil //nolint:nilerr // what cannot be seen is not there
	}
	switch {
	case one.Mode().IsRegular():
		return one.Size() == other.Size() && equalContent(a, b), nil
	case one.Mode()&fs.ModeSymlink != 0:
		x, _ := os.Readlink(a)
		y, _ := os.Readlink(b)
		return x == y, nil
	}
	return true, nil
}

func equalContent(a, b string) bool {
	x, err := os.Open(a)
	if err != nil {
		return false
	}
	defer x.Close()
	y, err := os.Open(b)
	if err != nil {
		return false
	}
	defer y.Close()
	p, q := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errX := io.ReadFull(x, p)
		m, errY := io.ReadFull(y, q)
		if !bytes.Equal(p[:n], q[:m]) {
			return false
		}
		if errX != nil || errY != nil {
			return ended(errX) && ended(errY)
		}
	}
}

func ended(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
