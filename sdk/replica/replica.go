// Package replica copies files so that nothing of them is lost: not only what
// is in them but also whose they are, what may be done with them, when they
// were changed, their extended attributes and their holes. It is for whoever
// keeps, moves or rewrites the state of a component; the component may be a
// database that checks who owns its files, or a mail spool that lives on a
// directory's sticky bit.
//
// Symbolic links are never followed. What no copy can carry is told by
// [Info.Check], so that it can be refused before anything was touched.
package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// An Info is what the file system says of a file, without its extended
// attributes.
type Info struct {
	stat unix.Statx_t
}

// An Inode identifies a file behind all its names.
type Inode struct {
	Major, Minor uint32 // device
	Number       uint64
}

const wanted = unix.STATX_BASIC_STATS

// Look looks at a file, or at the symbolic link itself. The error is a
// [fs.PathError].
func Look(path string) (Info, error) { return look(unix.AT_FDCWD, path, path) }

// LookIn looks at a name in an open directory, which is faster than by the
// whole path.
func LookIn(dir *os.File, name string) (Info, error) {
	return look(int(dir.Fd()), name, name)
}

func look(at int, name, path string) (i Info, err error) {
	if err := unix.Statx(at, name, unix.AT_SYMLINK_NOFOLLOW, wanted, &i.stat); err != nil {
		return i, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	return i, nil
}

func (i Info) is(kind uint16) bool { return i.stat.Mode&unix.S_IFMT == kind }

// Dir reports whether it is a directory.
func (i Info) Dir() bool { return i.is(unix.S_IFDIR) }

// Regular reports whether it is a regular file.
func (i Info) Regular() bool { return i.is(unix.S_IFREG) }

// Symlink reports whether it is a symbolic link.
func (i Info) Symlink() bool { return i.is(unix.S_IFLNK) }

// Passing reports whether it is a named pipe or a socket: what goes through
// them is no state, and programs make them anew.
func (i Info) Passing() bool { return i.is(unix.S_IFIFO) || i.is(unix.S_IFSOCK) }

// SameKind reports whether both are files, or both directories, and so on.
func (i Info) SameKind(other Info) bool { return i.is(other.stat.Mode & unix.S_IFMT) }

// Inode returns which file it is.
func (i Info) Inode() Inode {
	return Inode{i.stat.Dev_major, i.stat.Dev_minor, i.stat.Ino}
}

// SameDevice reports whether both are on the same device.
func (i Info) SameDevice(other Info) bool {
	return i.stat.Dev_major == other.stat.Dev_major && i.stat.Dev_minor == other.stat.Dev_minor
}

// Names returns how many names the file has.
func (i Info) Names() uint32 { return i.stat.Nlink }

// Mounted reports whether something is mounted there, as far as the kernel tells
// (Linux 5.8).
func (i Info) Mounted() bool {
	return i.stat.Attributes&i.stat.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// Check returns why a file below a directory cannot be part of a state that is
// carried from version to version, and what to do about it.
func (i Info) Check(path string, root Info) error {
	mounted := i.Mounted()
	otherDevice := i.Dir() && (i.stat.Dev_major != root.stat.Dev_major || i.stat.Dev_minor != root.stat.Dev_minor)
	pinned := i.stat.Attributes & (unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND)
	switch {
	case i.is(unix.S_IFCHR) || i.is(unix.S_IFBLK):
		return fmt.Errorf("%s is a device node, which is no state: have the component keep it elsewhere", path)
	case mounted || otherDevice:
		return fmt.Errorf("%s is a mount point: unmount it, or have the component keep it elsewhere", path)
	case pinned != 0:
		return fmt.Errorf("%s is immutable or can only be appended to: take that from it (chattr -i -a)", path)
	}
	return nil
}

// Root looks at the directory that is a whole state, and returns why it cannot
// be renamed, as an update does with it, and what to do about that.
func Root(path string) (Info, error) {
	info, err := Look(path)
	if err != nil {
		return info, err
	}
	if !info.Dir() {
		return info, &fs.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
	}
	parent, err := Look(path + "/..") // the very one, whatever leads there
	if err != nil {
		return info, err
	}
	return info, info.Check(path, parent)
}

// Bounds of names below a state. Whoever handles them puts a path of its own
// in front, and the system takes 4,095 bytes; or holds each directory open.
const (
	MaxName   = 2048 // bytes
	MaxLevels = 256  // of directories, the file itself included
)

// CheckName returns why a file of that name, below the directory of a state,
// cannot be part of it, and what to do about that.
func CheckName(name string) error {
	const shown = 128 // bytes
	switch {
	case len(name) > MaxName:
		return fmt.Errorf("%.*s… is a name of more than %d bytes: have the component keep it elsewhere, or shorten it", shown, name, MaxName)
	case len(name) >= 2*MaxLevels && strings.Count(name, "/") >= MaxLevels:
		return fmt.Errorf("%.*s… is more than %d levels deep: have the component keep it elsewhere, or less deep", shown, name, MaxLevels)
	}
	return nil
}

// Give gives a file what another of the same kind has: owner and group,
// extended attributes (and with them access control lists and capabilities),
// mode with all special bits, and times. What it has already costs no write,
// so whoever may not change owners can still copy its own files. A directory
// should be filled before, since that changes its time.
func Give(path, from string) error {
	source, err := Look(from)
	if err != nil {
		return err
	}
	return source.give(path, from)
}

// GiveBut is Give, except that the file keeps its permissions. If they are
// those of the other it gets the special bits as well.
func GiveBut(path, from string) error {
	source, err := Look(from)
	if err != nil {
		return err
	}
	have, err := Look(path)
	if err != nil {
		return err
	}
	if own := have.stat.Mode & 0o777; own != source.stat.Mode&0o777 {
		source.stat.Mode = source.stat.Mode&unix.S_IFMT | own
	}
	return source.give(path, from)
}

// Own gives a file the owner and the group of another.
func Own(path, like string) error {
	source, err := Look(like)
	if err != nil {
		return err
	}
	have, err := Look(path)
	if err != nil || have.stat.Uid == source.stat.Uid && have.stat.Gid == source.stat.Gid {
		return err
	}
	if err := os.Lchown(path, int(source.stat.Uid), int(source.stat.Gid)); err != nil {
		return source.cannotGive(path, err)
	}
	return nil
}

func (i Info) give(path, from string) error {
	have, err := Look(path)
	if err != nil {
		return err
	}
	if have.stat.Uid != i.stat.Uid || have.stat.Gid != i.stat.Gid {
		if err := os.Lchown(path, int(i.stat.Uid), int(i.stat.Gid)); err != nil {
			return i.cannotGive(path, err)
		}
		have.stat.Mode = 0 // it may have lost bits by that
	}
	changed, err := giveAttributes(path, from)
	if errors.Is(err, fs.ErrPermission) && !i.Symlink() && have.stat.Mode&0o200 == 0 {
		// Its owner may set attributes only while it may be written.
		if err := unix.Chmod(path, uint32(have.stat.Mode&0o777|0o200)); err != nil {
			return &fs.PathError{Op: "chmod", Path: path, Err: err}
		}
		have.stat.Mode = 0
		changed, err = giveAttributes(path, from)
	}
	if err != nil {
		return err
	}
	if mode := uint32(i.stat.Mode & 0o7777); !i.Symlink() && (changed || uint32(have.stat.Mode&0o7777) != mode) {
		if err := unix.Chmod(path, mode); err != nil {
			return &fs.PathError{Op: "chmod", Path: path, Err: err}
		}
	}
	if have.stat.Mtime == i.stat.Mtime {
		return nil
	}
	times := []unix.Timespec{timespec(i.stat.Atime), timespec(i.stat.Mtime)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}

func (i Info) cannotGive(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: it belongs to user %d and group %d, and this process (user %d) may give files to nobody: run it as root, or change the owner",
			err, i.stat.Uid, i.stat.Gid, os.Geteuid())
	}
	return err
}

func timespec(t unix.StatxTimestamp) unix.Timespec {
	return unix.NsecToTimespec(t.Sec*1e9 + int64(t.Nsec))
}
