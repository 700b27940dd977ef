package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Belongings are what belongs to a file besides its content: all that [Give]
// gives.
type Belongings struct {
	User, Group int
	Mode        uint32 // with set-user, set-group and sticky bit, as POSIX numbers them
	Modified    time.Time
	Attributes  map[string]string // extended attributes, by name
}

// Of returns the belongings of a file, or of a symbolic link itself.
func Of(path string) (b Belongings, err error) {
	info, err := Look(path)
	if err != nil {
		return b, err
	}
	all, err := attributes(path)
	if err != nil {
		return b, err
	}
	b = Belongings{
		User: int(info.stat.Uid), Group: int(info.stat.Gid), Mode: uint32(info.stat.Mode & 0o7777),
		Modified: time.Unix(info.stat.Mtime.Sec, int64(info.stat.Mtime.Nsec)),
	}
	for name, value := range all {
		if b.Attributes == nil {
			b.Attributes = map[string]string{}
		}
		b.Attributes[name] = string(value)
	}
	return b, nil
}

// Set gives them to a file that this process has made, or to a symbolic link
// itself. A directory should be filled before.
func (b Belongings) Set(path string) error {
	info, err := Look(path)
	if err != nil {
		return err
	}
	if b.User != int(info.stat.Uid) || b.Group != int(info.stat.Gid) {
		if err := os.Lchown(path, b.User, b.Group); err != nil {
			return fmt.Errorf("%s belongs to user %d and group %d: %w", path, b.User, b.Group, err)
		}
	}
	for name, value := range b.Attributes {
		err := unix.Lsetxattr(path, name, []byte(value), 0)
		if err != nil && !(policy(name) && errors.Is(err, fs.ErrPermission)) {
			return fmt.Errorf("cannot give %s the attribute %s: %w", path, name, err)
		}
	}
	if !info.Symlink() {
		if err := unix.Chmod(path, b.Mode); err != nil {
			return &fs.PathError{Op: "chmod", Path: path, Err: err}
		}
	}
	at, err := unix.TimeToTimespec(b.Modified)
	if err != nil {
		return fmt.Errorf("%s cannot have been changed at %s: %w", path, b.Modified, err)
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}
