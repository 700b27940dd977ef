package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// cacheLimit is how many bytes of compiled modules stay: some thirty of Go.
const cacheLimit = 256 << 20

// prune makes the cache of compiled modules fit to be executed from: it is the
// caller's alone, and so is all that is in it; what is not is removed, and of
// the rest the oldest above limit bytes. The engine keeps each of its versions
// a directory, so those of former versions become old and go.
func prune(dir string, limit int64) error {
	if err := private(dir); err != nil {
		return err
	}
	entries, err := compiledEntries(filepath.Join(dir, compiledName))
	if err != nil {
		return fmt.Errorf("cannot look through the cache of transforms: %w", err)
	}
	slices.SortFunc(entries, func(a, b cacheEntry) int { return b.at.Compare(a.at) }) // newest first
	for _, e := range entries {
		if e.ours {
			if limit -= e.size; limit >= 0 {
				continue
			}
		}
		if err := os.Remove(e.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot prune the cache of transforms: %w", err)
		}
		os.Remove(filepath.Dir(e.path)) // of a former version; fails unless it is empty
	}
	return nil
}

// private makes sure that nobody else can put anything into a directory.
func private(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || !owned(info) {
		return fmt.Errorf("%s belongs to somebody else: compiled transforms are executed from there", dir)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return os.Chmod(dir, 0o700)
	}
	return nil
}

func owned(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid()
}

type cacheEntry struct {
	path string
	size int64
	at   time.Time
	ours bool
}

func compiledEntries(dir string) (all []cacheEntry, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		ours := info.Mode().IsRegular() && info.Mode().Perm()&0o022 == 0 && owned(info)
		all = append(all, cacheEntry{path, info.Size(), info.ModTime(), ours})
		return nil
	})
	return all, err
}
