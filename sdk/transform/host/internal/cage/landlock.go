package cage

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights over files, by the version of Landlock that introduced them.
const (
	filesV1 = 1<<13 - 1
	filesV2 = filesV1 | unix.LANDLOCK_ACCESS_FS_REFER
	filesV3 = filesV2 | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	filesV5 = filesV3 | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

	network = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	scopes  = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
)

// Rights that rules give back.
const (
	run  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE
	work = filesV3 &^ (unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM)
)

// denied returns all that a version can deny.
func denied(version int) unix.LandlockRulesetAttr {
	a := unix.LandlockRulesetAttr{Handled_access_fs: filesV1}
	switch {
	case version >= 5:
		a.Handled_access_fs = filesV5
	case version >= 3:
		a.Handled_access_fs = filesV3
	case version == 2:
		a.Handled_access_fs = filesV2
	}
	if version >= 4 {
		a.Handled_access_net = network
	}
	if version >= 6 {
		a.Scoped = scopes
	}
	return a
}

// newRuleset denies everything. Signals may be left out: whoever starts
// processes must be able to end them.
func newRuleset(signals bool) (fd int, files uint64, err error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, 0, absent(errno)
	}
	a := denied(int(version))
	if !signals {
		a.Scoped &^= unix.LANDLOCK_SCOPE_SIGNAL
	}
	r, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a), 0)
	return int(r), a.Handled_access_fs, absent(errno)
}

func landlockThread(program, dir string) error {
	ruleset, files, err := newRuleset(false)
	if err != nil {
		return err
	}
	defer unix.Close(ruleset)
	if err := allow(ruleset, program, run); err != nil {
		return err
	}
	if err := allow(ruleset, dir, work&files); err != nil {
		return err
	}
	for _, library := range libraries {
		if err := allow(ruleset, library, run|unix.LANDLOCK_ACCESS_FS_READ_DIR); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0)
	return absent(errno)
}

// allow gives rights over a file, or over what is below a directory.
func allow(ruleset int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil {
		return err
	}
	if s.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &^= unix.LANDLOCK_ACCESS_FS_READ_DIR
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	return absent(errno)
}

// errThreads says that Go does not let a program with cgo do this.
var errThreads = errors.New("the program has cgo")

// landlockProcess denies every thread all there is to deny.
func landlockProcess() error {
	ruleset, _, err := newRuleset(true)
	if err != nil {
		return err
	}
	defer unix.Close(ruleset)
	// Each thread needs this, and that all threads have the same result.
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno == unix.ENOTSUP {
		return errThreads
	} else if errno != 0 {
		return errno
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0)
	return absent(errno)
}
