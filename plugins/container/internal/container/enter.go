package container

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
)

// enterArg is the first argument of the updater's own program when it is to
// become a container's engine; the second is the box's directory.
const enterArg = "enter"

// Run is what the updater's program does that has two arguments: it supervises a
// container, or enters one. It returns the exit code.
func Run(role, dir string) int {
	switch role {
	case service.SuperviseArg:
		return supervisor.Run(dir)
	case enterArg:
		fmt.Fprintln(os.Stderr, "cannot enter the container:", enter(dir))
	}
	return 2
}

// enter mounts what a container has of the device into its root file system, in
// a mount namespace of its own, and becomes the engine: so all of that is gone
// with the container, however it ends, and no engine is told what of the device
// to mount. It returns only if that fails.
func enter(dir string) error {
	runtime.LockOSThread() // to which the namespace belongs
	parent := os.Getppid()
	b, err := readBox(dir)
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("cannot make a mount namespace: %w", err)
	}
	// What the device unmounts must not stay busy because of this.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("cannot detach the mount namespace: %w", err)
	}
	for _, m := range b.Mounts {
		if err := b.mount(m); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.Target, err)
		}
	}
	engine, err := exec.LookPath(b.Run[0])
	if err != nil {
		return err
	}
	// That of this thread is not what the supervisor has asked for.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if os.Getppid() != parent {
		return errors.New("the supervisor has ended")
	}
	return unix.Exec(engine, b.Run, os.Environ())
}

// mount binds a directory of the device into the root file system. No symbolic
// link on the way to the target is followed: the container may have put it there.
func (b Box) mount(m Mount) error {
	target, err := reach(b.Root, m.Target)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if err := unix.Mount(m.Source, fdPath(target), "", unix.MS_BIND, ""); err != nil {
		return err
	}
	mounted, err := reach(b.Root, m.Target) // what is there now
	if err != nil {
		return err
	}
	defer unix.Close(mounted)
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV)
	if m.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	return unix.Mount("", fdPath(mounted), "", flags, "")
}

func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// reach opens a directory below root, and makes what is missing of it.
func reach(root, dir string) (fd int, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	at, err := unix.Open(root, flags, 0)
	if err != nil {
		return -1, err
	}
	for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		if err := unix.Mkdirat(at, part, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			unix.Close(at)
			return -1, err
		}
		next, err := unix.Openat(at, part, flags, 0)
		unix.Close(at)
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return -1, fmt.Errorf("%s is no directory, or leads there over a symbolic link: name where it leads to", part)
		}
		if err != nil {
			return -1, err
		}
		at = next
	}
	return at, nil
}
