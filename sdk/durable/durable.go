// Package durable puts files in place whole or not at all, so that they outlast
// a power cut right after.
package durable

import (
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile puts b in place of a file.
func WriteFile(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	return Commit(f, path, mode)
}

// Commit gives a written file of the same file system its mode and its final
// name, in place of what has it. The caller closes f.
func Commit(f *os.File, path string, mode fs.FileMode) error {
	for _, do := range []func() error{
		func() error { return f.Chmod(mode) },
		f.Sync,
		func() error { return os.Rename(f.Name(), path) },
		func() error { return Sync(filepath.Dir(path)) },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// Sync makes a file, or the names in a directory, outlast a power cut.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
