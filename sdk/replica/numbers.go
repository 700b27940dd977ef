package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Numbers returns the names in an open directory and, of regular files, the
// inodes that the directory itself has for them; of anything else 0. That
// takes no look at each file, and so a tenth of the time. See [Numbered].
func Numbers(dir *os.File) (map[string]uint64, error) {
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

// Numbered reports whether, below a directory, [Numbers] finds the very inodes
// that a look at a file finds. Where file systems are laid over each other it
// need not, and under a mount point the directory has what is hidden.
func Numbered(dir string) bool {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return false
	}
	switch uint32(s.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, ubifsMagic, unix.TMPFS_MAGIC:
		return !mountedBelow(dir)
	}
	return false
}

const ubifsMagic = 0x24051905
