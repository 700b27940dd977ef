package trust

import (
	"log/slog"
	"os"
	"path/filepath"
)

// WriteFile puts a file in place whole or not at all, so that it outlasts a power
// cut right after.
func WriteFile(path string, b []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	for _, do := range []func() error{
		func() error { _, err := f.Write(b); return err },
		func() error { return f.Chmod(mode) },
		f.Sync,
		func() error { return os.Rename(f.Name(), path) },
		func() error { return syncDir(filepath.Dir(path)) },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// put writes a file of the client's own, also if a directory is in its place.
func put(path string, b []byte, log *slog.Logger) error {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		log.Warn("a directory was where trust metadata is kept, and is removed", "path", path, "error", os.RemoveAll(path))
	}
	return WriteFile(path, b, 0o600)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
