// Package uml runs this program once more inside of user-mode Linux: a whole
// kernel that is an ordinary process. What it has of its own is a clock, which
// a test may set as it likes, and processes, network and memory. It sees the
// files of this machine, and can write none of them.
package uml

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Name is the kernel, of Debian's package user-mode-linux.
const Name = "linux.uml"

// inside marks the program that is run inside, and its init.
const inside = "TRANQUIL_UML"

// ended precedes the exit code on the console.
const ended = "user-mode Linux: the program has ended: "

// priority has what runs inside not starve beside other tests: a whole system has one
// processor there, and is slow on it.
const priority = -10

// Program returns this test program, or if the race detector is in it, which
// finds no place for its shadow inside, compiles it without, into dir.
func Program(ctx context.Context, dir string) (string, error) {
	info, _ := debug.ReadBuildInfo()
	if !slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return os.Executable()
	}
	path := filepath.Join(dir, "inside.test")
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot compile this test: %w: %s", err, out)
	}
	return path, nil
}

// Inside reports whether this program runs inside.
func Inside() bool { return os.Getenv(inside) != "" }

// Boot runs a program that calls [Init], as [Program] finds one, inside: as
// root, in an empty working directory, with so many megabytes of memory, and
// with arguments and variables (NAME=value) that have no blanks. What it
// prints goes to out. It is an error if it does not end with 0.
func Boot(ctx context.Context, out io.Writer, memory int, program string, variables []string, arguments ...string) error {
	kernel, err := exec.LookPath(Name)
	if err != nil {
		return err
	}
	args := []string{
		fmt.Sprintf("mem=%dM", memory), "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "panic=-1",
		"con=null", "con0=fd:0,fd:1", "init=" + program, inside + "=1",
	}
	args = append(append(append(args, variables...), "--"), arguments...)
	command := exec.CommandContext(ctx, kernel, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the processes inside are processes here, too
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = 5 * time.Second
	alive, err := command.StdinPipe() // closes also if this program is killed
	if err != nil {
		return err
	}
	defer alive.Close()
	console, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	command.Stderr = command.Stdout
	if err := command.Start(); err != nil {
		return err
	}
	_ = unix.Setpriority(unix.PRIO_PGRP, command.Process.Pid, priority) // only root may
	code, told := copyConsole(out, console)
	err = command.Wait()
	fmt.Fprintf(out, "the kernel took %s of processor time\n", command.ProcessState.UserTime()+command.ProcessState.SystemTime())
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !told:
		return fmt.Errorf("the program inside has not ended: %w", errors.Join(err, io.ErrUnexpectedEOF))
	case code != 0:
		return fmt.Errorf("the program inside has ended with %d", code)
	}
	return nil
}

// copyConsole copies until the console ends, and finds the exit code.
func copyConsole(out io.Writer, console io.Reader) (code int, told bool) {
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if text, found := strings.CutPrefix(line, ended); found {
			n, err := strconv.Atoi(text)
			code, told = n, err == nil
			continue
		}
		fmt.Fprintln(out, line)
	}
	io.Copy(io.Discard, console)
	return code, told
}

// Init has to be called first of all. It returns at once, except as the first
// process inside: then it runs this program, and switches off.
func Init() {
	if !Inside() || os.Getpid() != 1 {
		return
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		off() // nobody is there any more
	}()
	code, err := initialise()
	if err != nil {
		fmt.Println("user-mode Linux:", err)
		code = 1
	}
	fmt.Printf("\n%s%d\n", ended, code)
	off()
}

func off() { unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }

// Dir is the writable directory inside, where temporary files go too.
const Dir = "/run"

// initialise makes a system of a kernel, and runs this program in it.
func initialise() (code int, err error) {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", Dir}} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return 0, fmt.Errorf("cannot mount %s: %w", m.at, err)
		}
	}
	if err := loopback(); err != nil {
		return 0, fmt.Errorf("cannot bring up the loopback: %w", err)
	}
	arguments := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool { return a == "console=tty0" }) // the kernel's
	command := exec.Command("/proc/self/exe", arguments...)
	command.Dir, command.Stdout, command.Stderr = Dir, os.Stdout, os.Stdout
	command.Env = append(os.Environ(), "TMPDIR="+Dir, "HOME="+Dir, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if err := command.Start(); err != nil {
		return 0, err
	}
	return reap(command.Process.Pid)
}

// reap waits for all that has lost its parent, until the program has ended.
func reap(program int) (code int, err error) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case pid == program && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == program:
			return status.ExitStatus(), nil
		}
	}
}

func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// Step sets the clock inside forward or, if d is negative, back.
func Step(d time.Duration) error {
	if !Inside() {
		return errors.New("the clock of this machine is not to be changed")
	}
	at := unix.NsecToTimespec(time.Now().Add(d).UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &at)
}
