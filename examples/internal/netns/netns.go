// Package netns makes networks of their own in the kernel of this machine: this program
// runs once more in one, and makes others for devices. Nothing that is sent in them
// leaves them, and they are gone with the processes in them.
package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// inside marks the program that runs in a network of its own.
const inside = "TRANQUIL_NETNS"

// Inside reports whether this program runs there.
func Inside() bool { return os.Getenv(inside) != "" }

// own are the namespaces that a process gets: a network, and mounts, so that it can
// have files under /etc that others do not see.
const own = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS

// Possible returns why there can be no networks here.
func Possible() error {
	for _, tool := range []string{"ip", "nsenter", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	probe := exec.Command("true")
	probe.SysProcAttr = &syscall.SysProcAttr{Unshareflags: own}
	return probe.Run()
}

// Enter runs this program with these variables (NAME=value) and arguments in a network
// that has nothing but its loopback. What it prints goes to out. It ends with ctx, or
// with this program, if it has called [Init].
func Enter(ctx context.Context, out io.Writer, variables []string, arguments ...string) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, executable, arguments...)
	command.Env = append(append(os.Environ(), variables...), inside+"=1")
	command.Stdout, command.Stderr = out, out
	command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: own}
	command.WaitDelay = 5 * time.Second
	alive, err := command.StdinPipe() // closes also if this program is killed
	if err != nil {
		return err
	}
	defer alive.Close()
	return command.Run()
}

// Init has to be called first of all. It does nothing but inside, where it brings up the
// loopback, and ends the program with the one outside.
func Init() {
	if !Inside() {
		return
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	if err := run(strings.Fields("ip link set lo up")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A Space is the network of a device, or of what lies between it and its server.
type Space struct {
	holder *exec.Cmd // a process that waits for its end
	end    io.Closer
}

// New makes one, with its loopback, and an /etc of its own, which is empty. Close it.
func New() (*Space, error) {
	s := &Space{holder: exec.Command("cat")}
	s.holder.SysProcAttr = &syscall.SysProcAttr{Unshareflags: own}
	var err error
	if s.end, err = s.holder.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.holder.Start(); err != nil {
		return nil, fmt.Errorf("cannot make a network: %w", err)
	}
	err = errors.Join(s.Run("ip link set lo up"), s.Run("mount -t tmpfs tmpfs /etc"))
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the network, when nobody is in it any more.
func (s *Space) Close() {
	s.end.Close()
	_ = s.holder.Wait()
}

// Command is what has the command that follows it run in the network.
func (s *Space) Command() []string {
	return []string{"nsenter", "--target", strconv.Itoa(s.holder.Process.Pid), "--net", "--mount", "--"}
}

// Run runs a command without blanks in its words.
func (s *Space) Run(command string) error {
	return run(append(s.Command(), strings.Fields(command)...))
}

// Write writes a file, such as /etc/resolv.conf.
func (s *Space) Write(path, text string) error {
	return run(append(s.Command(), "sh", "-c", `printf %s "$1" >"$2"`, "sh", text, path))
}

// Join lays a cable from one network to another; nil is the one that this program is in.
// Each end has a name, and an MTU.
func Join(from *Space, nearName string, to *Space, farName string, mtu int) error {
	words := strings.Fields(fmt.Sprintf("ip link add %s mtu %d type veth peer name %s mtu %d netns %d", nearName, mtu, farName, mtu, to.holder.Process.Pid))
	up := fmt.Sprintf("ip link set %s up", nearName)
	if from == nil {
		return errors.Join(run(words), run(strings.Fields(up)), to.Run("ip link set "+farName+" up"))
	}
	return errors.Join(run(append(from.Command(), words...)), from.Run(up), to.Run("ip link set "+farName+" up"))
}

func run(words []string) error {
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
