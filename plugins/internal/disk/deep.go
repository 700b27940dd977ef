package disk

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// span is how much of a path is handed to the system at once, in bytes: it
// takes 4,095. A component can make directories that are deeper, by changing
// to each of them. No update carries such a state, but the component has to
// start on it.
const span = 4000

// open opens a directory, however long its path is.
func open(dir string) (*os.File, error) {
	at := unix.AT_FDCWD
	for rest := dir; ; {
		part := rest
		if len(part) > span {
			part = part[:strings.LastIndexByte(part[:span], '/')] // no name has more than 255
		}
		fd, err := unix.Openat(at, part, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if at != unix.AT_FDCWD {
			unix.Close(at)
		}
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
		}
		if at = fd; len(part) == len(rest) {
			return os.NewFile(uintptr(fd), dir), nil
		}
		rest = rest[len(part)+1:]
	}
}

// reach returns a path to a file that the system takes, until done is called.
func reach(path string) (short string, done func(), err error) {
	if len(path) <= span {
		return path, func() {}, nil
	}
	dir, err := open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}
