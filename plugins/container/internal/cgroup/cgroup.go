// Package cgroup finds the control groups of a container, whichever engine made
// them and in whichever hierarchies, suspends what is in them, and ends what an
// engine that was killed has left (cgroups(7)).
//
// All groups of a container are below tranquil/NAME in each hierarchy. Its own
// processes are in groups there whose names contain "payload"; the others are
// the engine's.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Path is where an engine has to make the groups of a container, relative to the
// root of a hierarchy.
func Path(name string) string { return "tranquil/" + name }

// Payload is part of the names of the groups that a container's processes are in.
const Payload = "payload"

// Unified reports whether limits belong to version 2 of control groups.
func Unified() bool {
	var s unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &s) == nil && s.Type == unix.CGROUP2_SUPER_MAGIC
}

// dirs lists a container's groups, one for each hierarchy that has one.
func dirs(name string) ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	first, err := os.ReadFile("/proc/1/cgroup")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, root := range roots(string(mounts), string(first)) {
		dir := filepath.Join(root, Path(name))
		if info, err := os.Stat(dir); err == nil && info.IsDir() && !slices.Contains(found, dir) {
			found = append(found, dir)
		}
	}
	return found, nil
}

// roots lists where containers' groups may begin: at the root of each hierarchy,
// and where the first process is, which is what LXC takes for the root.
func roots(mountinfo, first string) (list []string) {
	var bases []string
	for line := range strings.Lines(first) {
		if _, path, ok := strings.Cut(line[strings.IndexByte(line, ':')+1:], ":"); ok {
			bases = append(bases, strings.TrimSuffix(strings.TrimSpace(path), "/init.scope"))
		}
	}
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if len(fields) < 5 || !strings.HasPrefix(after, "cgroup") {
			continue
		}
		root, point := fields[3], fields[4]
		list = append(list, point)
		for _, base := range bases {
			if rel, err := filepath.Rel(root, base); err == nil && filepath.IsLocal(rel) && rel != "." {
				list = append(list, filepath.Join(point, rel))
			}
		}
	}
	return list
}

// below lists a group and all groups in it, the innermost last.
func below(dir string) (list []string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			list = append(list, path)
		}
		return nil // what has disappeared meanwhile does not matter
	})
	return list
}

// processes lists the PIDs in these groups.
func processes(groups []string) (pids []int) {
	for _, group := range groups {
		text, _ := os.ReadFile(filepath.Join(group, "cgroup.procs")) // one that is gone has none
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Processes lists the PIDs of a container.
func Processes(name string) ([]int, error) {
	payloads, err := payload(name)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, group := range payloads {
		pids = append(pids, processes(below(group))...)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

func payload(name string) (groups []string, err error) {
	all, err := dirs(name)
	for _, dir := range all {
		inside, _ := filepath.Glob(filepath.Join(dir, "*"+Payload+"*")) // the pattern is good
		groups = append(groups, inside...)
	}
	return groups, err
}

// Sweep ends all that runs in a container's groups and removes them. It is for
// when the engine is gone that would do so, and reports whether anything ran.
func Sweep(ctx context.Context, name string) (found bool, err error) {
	if err := Thaw(name); err != nil { // in version 1 nobody dies who is frozen
		return false, err
	}
	for {
		all, err := dirs(name)
		if err != nil || len(all) == 0 {
			return found, err
		}
		var groups []string
		for _, dir := range all {
			groups = append(groups, below(dir)...)
		}
		pids := processes(groups)
		for _, pid := range pids {
			found = true
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return found, fmt.Errorf("cannot end process %d of the container: %w", pid, err)
			}
		}
		if len(pids) == 0 && remove(groups) {
			return found, nil
		}
		if err := pause(ctx); err != nil {
			return found, fmt.Errorf("%d processes of the container do not end: %w", len(pids), err)
		}
	}
}

// remove removes groups, the innermost first. One whose processes have ended
// only now may be busy for another moment.
func remove(groups []string) (all bool) {
	all = true
	for _, group := range slices.Backward(groups) {
		if err := unix.Rmdir(group); err != nil && !errors.Is(err, unix.ENOENT) {
			all = false
		}
	}
	return all
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Millisecond):
		return nil
	}
}
