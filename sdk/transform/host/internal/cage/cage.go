// Package cage takes from a process what a computation does not need, in
// layers that hold each without the others: no new privileges, limits of
// resources, a root directory with nothing in it, a user of its own, Landlock
// and a seccomp filter. Linux only, without cgo.
//
// The host calls [Thread] on the thread from which it starts the process; the
// process calls [Limit] and [Root] first, and [Lock] when it has all that it
// will ever open. A layer that the kernel or the container lacks is reported
// and left out.
package cage

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Missing layer is one that could not be laid.
type Missing struct{ Layer, Why string }

func missing(layer string, err error) []Missing {
	if err == nil {
		return nil
	}
	return []Missing{{layer, err.Error()}}
}

// Thread confines the calling thread, which must be locked to its goroutine
// and must not be used for anything else any more, and so all processes that
// it starts: to one program, and to files below dir. The files that
// it needs besides have to be open.
func Thread(program, dir string) ([]Missing, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("cannot give up new privileges: %w", err)
	}
	return missing("landlock", landlockThread(program, dir)), nil
}

// Limits are what the kernel enforces of a process.
type Limits struct {
	CPU     uint64 // seconds
	Data    uint64 // private memory, bytes
	Address uint64 // address space, bytes; 0: no limit
	Files   uint64 // open at a time
}

// Limit sets limits that cannot be raised again. Lower ones stay as they are.
func Limit(l Limits) error {
	set := []struct {
		resource int
		value    uint64
	}{
		{unix.RLIMIT_CPU, l.CPU},
		{unix.RLIMIT_DATA, l.Data},
		{unix.RLIMIT_AS, l.Address},
		{unix.RLIMIT_NOFILE, l.Files},
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_MEMLOCK, 0},
		{unix.RLIMIT_MSGQUEUE, 0},
	}
	for _, s := range set {
		if s.resource == unix.RLIMIT_AS && s.value == 0 {
			continue
		}
		var limit syscall.Rlimit
		err := syscall.Getrlimit(s.resource, &limit)
		if err == nil {
			limit.Max = min(limit.Max, s.value)
			limit.Cur = limit.Max
			err = syscall.Setrlimit(s.resource, &limit)
		}
		if err != nil {
			return fmt.Errorf("cannot set limit %d: %w", s.resource, err)
		}
	}
	return nil
}

// Root makes a directory all there is of the file system. Where it cannot,
// which takes root, false is returned and everything keeps its name.
func Root(dir string) bool {
	return unix.Chroot(dir) == nil && unix.Chdir("/") == nil
}

// Lock closes the cage: nothing can be opened, connected or started any more, and
// no file written to that is open. empty is an empty directory, seen from where
// [Root] has led.
func Lock(empty string) ([]Missing, error) {
	if err := syscall.Setrlimit(unix.RLIMIT_FSIZE, &syscall.Rlimit{}); err != nil {
		return nil, fmt.Errorf("cannot deny writing to files: %w", err)
	}
	var all []Missing
	if !Root(empty) {
		all = append(all, Missing{"empty root", "not permitted"})
	}
	own, err := becomeNobody()
	if err != nil {
		return nil, err
	}
	all = append(all, missing("own user", own)...)
	if err := landlockProcess(); !errors.Is(err, errThreads) { // what Thread did still holds
		all = append(all, missing("landlock", err)...)
	}
	all = append(all, missing("seccomp", filter())...)
	return all, nil
}

// ownUsers is where the sandboxes' users begin: far above those of people and
// services. Each has one of its own, so that none can touch another.
const ownUsers = 0x7a000000

// nobody is for containers that have few users.
const nobody = 65534

// threads is how many the Go runtime may start.
const threads = 256

// becomeNobody gives up root, if the process is that. The first error is why
// it still is, the second is fatal.
func becomeNobody() (kept, fatal error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	if err := syscall.Setgroups(nil); err != nil {
		return err, nil
	}
	id := ownUsers + os.Getpid()
	if err := syscall.Setgid(id); err != nil {
		if id = nobody; syscall.Setgid(id) != nil {
			return err, nil
		}
	}
	if err := syscall.Setuid(id); err != nil {
		return err, nil
	}
	if id != nobody {
		limit := syscall.Rlimit{Cur: threads, Max: threads}
		if err := syscall.Setrlimit(unix.RLIMIT_NPROC, &limit); err != nil {
			return nil, err
		}
	}
	// The kernel forgets this signal when the user changes.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return nil, err
	}
	return nil, nil
}

// errAbsent says that the kernel does not have a layer.
var errAbsent = errors.New("the kernel has none")

func absent(errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.ENOSYS, unix.EOPNOTSUPP:
		return errAbsent
	}
	return errno
}
