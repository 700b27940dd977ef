package replica

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Flags of FS_IOC_SETFLAGS, from linux/fs.h.
const (
	immutable  = 0x10
	appendOnly = 0x20
)

// Pinned reports whether a file is immutable or can only be appended to: then
// not even root can remove or rename it.
func (i Info) Pinned() bool {
	return i.stat.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0
}

// Unpin lets a file or directory be renamed or removed that is immutable or can
// only be appended to, as root may. What has nothing of the kind stays as it is.
func Unpin(path string) error {
	p, err := unpin(path)
	p.close()
	return err
}

// A pin is what was taken from a file so that it can be removed.
type pin struct {
	file  *os.File // nil: it had nothing of the kind
	flags uint32
}

// unpin is Unpin that can be taken back.
func unpin(path string) (p pin, err error) {
	info, err := Look(path)
	if err != nil || !info.Pinned() || !info.Dir() && !info.Regular() {
		return p, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return p, err
	}
	p = pin{file: f}
	if p.flags, err = unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil {
		err = setFlags(f, p.flags&^(immutable|appendOnly))
	}
	if err != nil {
		return pin{}, errors.Join(&fs.PathError{Op: "chattr", Path: path, Err: err}, f.Close())
	}
	return p, nil
}

// again gives back what was taken, under whatever name the file has now.
func (p pin) again() {
	if p.file != nil {
		_ = setFlags(p.file, p.flags)
	}
}

func (p pin) close() {
	if p.file != nil {
		_ = p.file.Close()
	}
}

func setFlags(f *os.File, flags uint32) error {
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags))
}
