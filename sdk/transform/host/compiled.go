package host

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tetratelabs/wazero"
)

// What the cache has of a module lies in a directory under this name. The
// engine keeps each of its versions, and each kind of processor, a file there.
// Beside it is a checksum of ours: the engine has one of the code only, and
// would jump anywhere if the rest is damaged. Against mistakes of disks and
// memory CRC-32C is enough; malice does not get here.
func entryName(module [32]byte) string { return fmt.Sprintf("%x", module) }

const (
	sumSuffix  = ".sum"
	halfSuffix = ".tmp" // of what the engine has not written to its end
)

// cachedEngine is newEngine with a cache: it takes from there what is whole, or
// leaves there what it has made. If anything goes wrong it returns why, and the
// cache has nothing of the module any more; the engine may be there all the same.
func cachedEngine(module []byte, s setup, dir string) (e *engine, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the compiler failed: %v", r)
		}
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	there, err := sift(dir)
	if err != nil {
		return nil, err
	}
	if !there && s.Cache == 0 {
		return nil, errors.New("the disk has no room for it beside what is to stay free")
	}
	if err := limitFile(s.Cache); err != nil {
		return nil, err
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir) // keyed by wazero's version
	if err != nil {
		return nil, err
	}
	if e, err = newEngine(module, s, cache); err != nil {
		return nil, err
	}
	return e, seal(dir)
}

// limitFile lets the kernel refuse to write more into any file, until [cage.Lock]
// lets it refuse all.
func limitFile(bytes int64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = min(uint64(bytes), limit.Max)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
}

// sift removes from the directory of a module what is not as it was sealed, and
// reports whether anything stays.
func sift(dir string) (there bool, err error) {
	err = eachCompiled(dir, func(name string) error {
		want, err := os.ReadFile(name + sumSuffix)
		if err == nil {
			var got []byte
			if got, err = checksum(name); err == nil && string(got) == string(want) {
				there = true
				return nil
			}
		}
		for _, file := range []string{name + sumSuffix, name} {
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
	return there, err
}

// seal notes the checksums of what has none.
func seal(dir string) error {
	return eachCompiled(dir, func(name string) error {
		if _, err := os.Stat(name + sumSuffix); err == nil {
			return nil
		}
		sum, err := checksum(name)
		if err != nil {
			return err
		}
		return os.WriteFile(name+sumSuffix, sum, 0o600)
	})
}

// eachCompiled calls f with all files of compiled code.
func eachCompiled(dir string, f func(name string) error) error {
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, sumSuffix) || strings.HasSuffix(name, halfSuffix) {
			return err
		}
		return f(name)
	})
	if errors.Is(err, fs.ErrNotExist) { // also what another sandbox has removed meanwhile
		return nil
	}
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := crc32.New(castagnoli)
	n, err := io.Copy(h, f)
	return fmt.Appendf(nil, "%d bytes, CRC-32C %08x\n", n, h.Sum32()), err
}
