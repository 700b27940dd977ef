package rig

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Running is one process of a component, as the process table shows it.
type Running struct {
	PID     int
	Started string // clock ticks since boot: with PID, the identity of a process
	Version string // TRANQUIL_VERSION of its environment
	State   string // TRANQUIL_STATE of its environment
}

// Components returns the processes of a component that run in this system.
// They are recognised by their environment alone: nothing here depends on how
// the updater keeps them.
func (s *System) Components(component string) []Running {
	var found []Running
	for _, pid := range under(s.Dir) {
		env := environ(pid)
		if env["TRANQUIL_COMPONENT"] != component || isProgram(pid, s.Program("")) {
			continue
		}
		found = append(found, Running{
			PID: pid, Started: started(pid), Version: env["TRANQUIL_VERSION"], State: env["TRANQUIL_STATE"],
		})
	}
	return found
}

// Updater returns the process of the agent's updater, if it runs now.
func (s *System) Updater() (pid int, runs bool) {
	return s.updaterProgram(func(parent int) bool { return parent == s.Agent.PID() })
}

// Supervisor returns the process that keeps the component running, if there
// is one now. It is the updater's program once more.
func (s *System) Supervisor() (pid int, runs bool) {
	return s.updaterProgram(func(parent int) bool { return parent != s.Agent.PID() })
}

func (s *System) updaterProgram(fits func(parent int) bool) (pid int, runs bool) {
	for _, pid := range under(s.Program("")) {
		path, err := os.Readlink(procFile(pid, "exe"))
		if err == nil && filepath.Base(path) == "tranquil-updater-application" && fits(parent(pid)) {
			return pid, true
		}
	}
	return 0, false
}

// isProgram tells updaters and supervisors, which may have a component's
// environment, from components.
func isProgram(pid int, bin string) bool {
	path, err := os.Readlink(procFile(pid, "exe"))
	return err != nil || strings.HasPrefix(path, bin+"/")
}

// under returns the processes whose program lies below dir, also if it has
// been removed since.
func under(dir string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		path, err := os.Readlink(procFile(pid, "exe"))
		if err == nil && strings.HasPrefix(path, dir+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func environ(pid int) map[string]string {
	b, _ := os.ReadFile(procFile(pid, "environ"))
	env := map[string]string{}
	for pair := range bytes.SplitSeq(b, []byte{0}) {
		name, value, _ := strings.Cut(string(pair), "=")
		env[name] = value
	}
	return env
}

// started is the start time of a process, parent the process that started it
// or adopted it.
func started(pid int) string { return stat(pid, 22) }

func parent(pid int) int {
	n, _ := strconv.Atoi(stat(pid, 4))
	return n
}

// stat returns a field of /proc/PID/stat, from 3 on: those that follow the
// name in parentheses.
func stat(pid, field int) string {
	b, _ := os.ReadFile(procFile(pid, "stat"))
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < field-2 {
		return ""
	}
	return fields[field-3]
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// Reboot ends supervisors and components at once, as a reboot does. The agent
// is away already.
func (s *System) Reboot() {
	for range 100 {
		left := 0
		for _, pid := range under(s.Dir) {
			path, _ := os.Readlink(procFile(pid, "exe"))
			if strings.HasPrefix(path, s.Program("")+"/") && filepath.Base(path) != "tranquil-updater-application" {
				continue // the backend and the tools
			}
			syscall.Kill(pid, syscall.SIGKILL)
			left++
		}
		if left == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
