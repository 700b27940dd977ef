package replica

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// RemoveAll is [os.RemoveAll] that is not held up by directories which their
// owner may not change: a copy has the modes of what it was copied from. Nor
// is it, with the rights for it, by what is immutable or can only be appended
// to; a file that has other names stays so under these. What is mounted below is
// unmounted, not removed: it belongs to somebody else.
func RemoveAll(path string) error {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		if err := Detach(path); err != nil {
			return err
		}
	}
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if entry == nil || err != nil {
			return nil //nolint:nilerr // the removal tells what is in its way
		}
		pinned, err := unpin(path)
		defer pinned.close()
		if entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		} else if err == nil {
			_ = os.Remove(path)
			pinned.again()
		}
		return nil
	})
	return os.RemoveAll(path)
}
