package rig

import (
	"io"
	"os/exec"
	"syscall"
)

// A guard ends the processes of a system when the rig is gone before it could
// do so itself: a test that panics or runs out of time, a demo that is killed.
// Supervisors are made to outlive everything else, and mounts too.
type guard struct {
	command *exec.Cmd
	alive   io.Closer // the guard reads from it until we end
}

const guardScript = `cat
for turn in 1 2 3; do
	ls -l /proc/[0-9]*/exe | while read -r line; do
		case "$line" in
		*" -> $1/"*) pid=${line##* /proc/}; kill -9 "${pid%%/*}" ;;
		esac
	done
done
while read -r _ at _; do
	case "$at" in
	"$1"/*) umount -l "$at" ;;
	esac
done </proc/mounts
rm -rf "$2"`

// watch starts a guard for the programs below dir, and a directory to remove.
func watch(dir, remove string) (*guard, error) {
	command := exec.Command("sh", "-c", guardScript, "guard", dir, remove)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // not for Ctrl-C
	alive, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &guard{command, alive}, command.Start()
}

// dismiss has the guard do its work now, and returns when it is done.
func (g *guard) dismiss() {
	g.alive.Close()
	g.command.Wait()
}
