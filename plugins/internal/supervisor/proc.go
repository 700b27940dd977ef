package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A stat is what proc(5) tells of a process in /proc/PID/stat.
type stat struct {
	parent int
	dead   bool   // a zombie: ended, but not waited for
	begun  uint64 // clock ticks since boot
}

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// parseStat reads "PID (name) state parent …": the name may hold anything,
// parentheses too, so the fields are counted from the last one.
func parseStat(data []byte) (stat, error) {
	const parent, begun = 1, 19 // fields 4 and 22 of proc(5), after the name
	_, rest, ok := bytes.Cut(data[max(bytes.LastIndexByte(data, ')'), 0):], []byte(") "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) <= begun {
		return stat{}, errors.New("cannot read /proc/PID/stat")
	}
	p, errParent := strconv.Atoi(fields[parent])
	b, errBegun := strconv.ParseUint(fields[begun], 10, 64)
	return stat{parent: p, dead: strings.ContainsAny(fields[0], "ZX"), begun: b}, errors.Join(errParent, errBegun)
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(id)), err
}

// SinceBoot is the boot-time clock, which nobody sets.
func SinceBoot() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail for this clock
	return time.Duration(ts.Nano())
}

// processes lists the PIDs of all processes there are.
func processes() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// descendants lists all processes below root. Those whose parents ended are
// among them if root is their subreaper.
func descendants(root int) ([]int, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, pid := range pids {
		if s, err := readStat(pid); err == nil && !s.dead {
			children[s.parent] = append(children[s.parent], pid)
		}
	}
	found := append([]int(nil), children[root]...)
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found, nil
}

// KillMarked kills all processes with mark in their environment and returns
// when there are none. They are what a killed supervisor left behind: the
// kernel ends the supervised process itself, but not its children.
func KillMarked(ctx context.Context, mark string) (found bool, err error) {
	for {
		pids, err := processes()
		if err != nil {
			return found, err
		}
		var killed []unix.PollFd
		for _, pid := range pids {
			if fd, ok := killIfMarked(pid, mark); ok {
				killed = append(killed, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			}
		}
		if len(killed) == 0 {
			return found, nil
		}
		found = true
		if err := ended(ctx, killed); err != nil {
			return found, err
		}
	}
}

// killIfMarked opens the process before it looks: so it kills the one it saw,
// even if the PID is recycled meanwhile. It returns the PID file descriptor of
// what it killed.
func killIfMarked(pid int, mark string) (fd int, killed bool) {
	if pid == os.Getpid() || !marked(pid, mark) {
		return 0, false
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, false
	}
	if !marked(pid, mark) || unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
		unix.Close(fd)
		return 0, false
	}
	return fd, true
}

// ended waits until all of the processes have ended, and closes their file
// descriptors. A dying process loses its environment before its open files.
func ended(ctx context.Context, processes []unix.PollFd) error {
	defer func() {
		for _, p := range processes {
			unix.Close(int(p.Fd))
		}
	}()
	for i := range processes {
		for processes[i].Revents == 0 {
			if ctx.Err() != nil {
				return fmt.Errorf("%d processes do not end: %w", len(processes)-i, ctx.Err())
			}
			if _, err := unix.Poll(processes[i:i+1], 10); err != nil && err != unix.EINTR {
				return fmt.Errorf("cannot wait for processes to end: %w", err)
			}
		}
	}
	return nil
}

func marked(pid int, mark string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && bytes.Contains(append([]byte{0}, env...), append(append([]byte{0}, mark...), 0))
}
