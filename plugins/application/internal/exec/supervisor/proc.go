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

// sinceBoot is the boot-time clock, which nobody sets.
func sinceBoot() time.Duration {
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

// killMarked kills all processes with mark in their environment and returns
// when there are none. They are what a killed supervisor left behind: the
// kernel ends the supervised process itself, but not its children.
func killMarked(ctx context.Context, mark string) (found bool, err error) {
	for {
		pids, err := processes()
		if err != nil {
			return found, err
		}
		left := 0
		for _, pid := range pids {
			if killIfMarked(pid, mark) {
				left++
			}
		}
		if left == 0 {
			return found, nil
		}
		found = true
		select {
		case <-ctx.Done():
			return found, fmt.Errorf("%d processes do not end: %w", left, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// killIfMarked opens the process before it looks: so it kills the one it saw,
// even if the PID is recycled meanwhile.
func killIfMarked(pid int, mark string) bool {
	if pid == os.Getpid() || !marked(pid, mark) {
		return false
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if !marked(pid, mark) {
		return false
	}
	return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}

func marked(pid int, mark string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && bytes.Contains(append([]byte{0}, env...), append(append([]byte{0}, mark...), 0))
}
