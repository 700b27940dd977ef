package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/space"
)

// Bounds of the cache of compiled modules, bytes.
const (
	cacheLimit = 256 << 20 // some thirty modules of Go
	entryLimit = 128 << 20 // for one module
	entryLeast = 1 << 20   // so many each one counts: it takes inodes, and a look at each start
)

// compiledSize is more than the code has that becomes of so many bytes of Wasm:
// of honest modules it is 3 to 5 times as much, of the worst 10 times.
func compiledSize(module int64) int64 { return min(entryLimit, 16*module+1<<20) }

// A caching bounds the cache as a whole.
type caching struct {
	mu    sync.Mutex
	under int64 // bytes that modules which are being compiled may come to
}

// makeRoom has the cache take the module of a sandbox, and older ones leave for
// it, and tells the sandbox how much it may write there: what is to stay free of
// the disk is no room for a cache. It is to be released when the module is
// compiled.
func (h *Host) makeRoom(s *setup, module int64) (release func(), err error) {
	h.caching.mu.Lock()
	defer h.caching.mu.Unlock()
	want := compiledSize(module)
	entry := entryName(s.SHA256)
	there, err := prune(s.Dir, entry, want, cacheLimit-h.caching.under-want)
	if err != nil {
		return nil, err
	}
	got, end, _, err := h.ledger.try(s.Dir, h.Reserve, space.Room{Bytes: want, Files: entryFiles}, true)
	if err == nil && !there && got.Bytes < want {
		end()
		if _, err = prune(s.Dir, entry, want, 0); err != nil {
			return nil, err
		}
		got, end, _, err = h.ledger.try(s.Dir, h.Reserve, space.Room{Bytes: want, Files: entryFiles}, true)
	}
	if err != nil {
		return nil, err
	}
	if got.Files == entryFiles {
		s.Cache = got.Bytes
	}
	h.caching.under += want
	return func() {
		end()
		h.caching.mu.Lock()
		defer h.caching.mu.Unlock()
		h.caching.under -= want
	}, nil
}

// entryFiles is how many files and directories a module takes in the cache:
// its directory, the engine's, the code, and its checksum.
const entryFiles = 4

// prune makes the cache of compiled modules fit to be executed from: it is the
// caller's alone, and so is all that is in it; what is not is removed. The
// module keep stays, unless it has come to more than most bytes, as with former
// versions of the engine; of the others those go that were not used for longest,
// until limit bytes are left. It reports whether keep is there.
func prune(dir, keep string, most, limit int64) (there bool, err error) {
	if err := private(dir); err != nil {
		return false, err
	}
	dir = filepath.Join(dir, compiledName)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // somebody has emptied it
		return false, fmt.Errorf("cannot look through the cache of transforms: %w", err)
	}
	var all []compiled
	for _, e := range entries {
		all = append(all, examine(filepath.Join(dir, e.Name())))
	}
	slices.SortFunc(all, func(a, b compiled) int { return b.used.Compare(a.used) }) // newest first
	for _, c := range all {
		switch kept := filepath.Base(c.path) == keep; {
		case !c.ours:
		case kept && c.size <= most:
			there = c.size > 0
			continue
		case !kept:
			if limit -= max(c.size, entryLeast); limit >= 0 {
				continue
			}
		}
		if err := os.RemoveAll(c.path); err != nil {
			return false, fmt.Errorf("cannot prune the cache of transforms: %w", err)
		}
	}
	if there {
		now := time.Now()
		_ = os.Chtimes(filepath.Join(dir, keep), now, now) // without it, it goes sooner
	}
	return there, nil
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

// A compiled is what the cache has of one module, in a directory of its own, of
// all versions of the engine.
type compiled struct {
	path string
	size int64
	used time.Time
	ours bool
}

// halfWritten is how long a sandbox may take to write what it has compiled. It
// leaves a half when it is killed.
const halfWritten = time.Hour

// examine looks at all that is in a directory of the cache. What another run
// removes meanwhile is gone.
func examine(path string) compiled {
	c := compiled{path: path, ours: true}
	if info, err := os.Lstat(path); err == nil {
		c.used, c.ours = info.ModTime(), info.IsDir()
	}
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !d.IsDir() && strings.HasSuffix(name, halfSuffix) && time.Since(info.ModTime()) > halfWritten {
			return os.Remove(name)
		}
		if !owned(info) || info.Mode().Perm()&0o022 != 0 || !d.IsDir() && !info.Mode().IsRegular() {
			c.ours = false
		}
		if !d.IsDir() {
			c.size += info.Size()
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.ours = false
	}
	return c
}
