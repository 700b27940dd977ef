package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// list opens a directory and returns the names in it.
func list(dir string) (*os.File, []string, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, names, nil
}

// numbers returns the names in an open directory, with the inodes of their
// files as the directory has them: that takes no look at each file.
func numbers(dir *os.File) (map[string]uint64, error) {
	all, buffer := map[string]uint64{}, make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(int(dir.Fd()), buffer)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &fs.PathError{Op: "getdents", Path: dir.Name(), Err: err}
		case n == 0:
			return all, nil
		default:
			parseNumbers(buffer[:n], all)
		}
	}
}

// parseNumbers reads what getdents64(2) has written.
func parseNumbers(b []byte, all map[string]uint64) {
	const length, kind, name = 16, 18, 19 // where they are
	for len(b) > name {
		size := int(binary.NativeEndian.Uint16(b[length:]))
		if size <= name || size > len(b) {
			return
		}
		text, _, _ := bytes.Cut(b[name:size], []byte{0})
		number := binary.NativeEndian.Uint64(b)
		if b[kind] != unix.DT_REG {
			number = 0
		}
		if s := string(text); s != "." && s != ".." {
			all[s] = number
		}
		b = b[size:]
	}
}

// numbered reports whether directories of a file system have the very numbers
// that a look at a file finds. Those that are made of others may have not.
func numbered(dir string) bool {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return false
	}
	switch uint32(s.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, ubifsMagic, unix.TMPFS_MAGIC:
		return true
	}
	return false
}

const ubifsMagic = 0x24051905

// share is how many names are worth a thread.
const share = 32

// look looks at all these names in a directory, on all processors. In a state
// of many files that is most of the work.
func look(dir *os.File, names []string) ([]replica.Info, error) {
	infos, errs := make([]replica.Info, len(names)), make([]error, runtime.GOMAXPROCS(0))
	var taken atomic.Int64
	var group sync.WaitGroup
	some := func(failed *error) {
		for *failed == nil {
			end := int(taken.Add(share))
			for i := end - share; i < min(end, len(names)) && *failed == nil; i++ {
				infos[i], *failed = replica.LookIn(dir, names[i])
			}
			if end >= len(names) {
				return
			}
		}
	}
	for i := 1; i < min(len(errs), (len(names)+share-1)/share); i++ {
		group.Go(func() { some(&errs[i]) })
	}
	some(&errs[0])
	group.Wait()
	return infos, errors.Join(errs...)
}
