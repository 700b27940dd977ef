package replica

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// RemoveAll is [os.RemoveAll] that is not held up by directories which their
// owner may not change: a copy has the modes of what it was copied from.
func RemoveAll(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() && err == nil {
			_ = os.Chmod(path, 0o700) // the removal tells what is in its way
		}
		return nil
	})
	return os.RemoveAll(path)
}
