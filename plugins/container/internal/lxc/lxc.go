// Package lxc runs containers by liblxc's command-line tools (lxc-start(1),
// lxc.container.conf(5)), version 4 or later.
package lxc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tranquil-iot/tranquil/plugins/container/internal/cgroup"
	"github.com/tranquil-iot/tranquil/plugins/container/internal/container"
)

// Engine runs containers by LXC. The zero value is ready.
type Engine struct{}

var _ container.Engine = Engine{}

// path is LXC's own name space of containers. It has none of our files, but root
// of an unprivileged container must be able to enter it.
const path = "/run"

// Check looks for the tools.
func (Engine) Check(container.Box) error {
	for _, tool := range []string{"lxc-start", "lxc-attach", "lxc-info"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: install LXC (Debian: lxc)", tool)
		}
	}
	return nil
}

const (
	configName  = "config"
	seccompName = "seccomp"
)

// Command writes the configuration. Its arguments need no quoting on the command
// line, other than in the configuration.
func (Engine) Command(b container.Box) (command, fresh []string, err error) {
	config, seccomp := filepath.Join(b.Dir, configName), filepath.Join(b.Dir, seccompName)
	text, err := render(b, cgroup.Unified())
	if err != nil {
		return nil, nil, err
	}
	err = errors.Join(os.WriteFile(config, []byte(text), 0o600), os.WriteFile(seccomp, denied(), 0o600))
	command = append(tool("lxc-start", b, "-F", "-f", config, "--"), b.Command...)
	if b.Base != 0 {
		command, err = ownUsers(command, err)
	}
	return command, nil, err
}

// ownUsers has LXC map an unprivileged container's users by itself. Where it finds
// newuidmap (Debian: uidmap, which comes with lxc) it leaves that to it, which
// refuses also to root what /etc/subuid does not list.
func ownUsers(command []string, err error) ([]string, error) {
	program, missing := exec.LookPath(command[0])
	return append([]string{"env", "-u", "PATH", program}, command[1:]...), errors.Join(err, missing)
}

// tool is one of LXC's commands on a box.
func tool(name string, b container.Box, args ...string) []string {
	return append([]string{name, "-P", path, "-n", b.Name}, args...)
}

// Up asks LXC, which says so once the program has been started.
func (Engine) Up(ctx context.Context, b container.Box) (bool, error) {
	command := tool("lxc-info", b, "-s", "-H")
	output, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return false, nil // LXC knows no such container yet
	}
	state := strings.TrimSpace(string(output))
	return state == "RUNNING" || state == "FROZEN" || state == "FREEZING", err
}

// Inside runs a command as the container's own program runs.
func (Engine) Inside(b container.Box, command []string) []string {
	args := []string{"-f", filepath.Join(b.Dir, configName), "--clear-env"}
	for _, variable := range b.Env {
		args = append(args, "-v", variable)
	}
	if b.UID != 0 || b.GID != 0 {
		args = append(args, "-u", fmt.Sprint(b.UID), "-g", fmt.Sprint(b.GID))
	}
	return append(tool("lxc-attach", b, append(args, "--")...), command...)
}

// denied lists the system calls that LXC answers with "not permitted", in its own
// format; to unmount by force is one of them.
func denied() []byte {
	text := "2\ndenylist\nreject_force_umount\n[all]\n"
	for _, call := range container.DeniedCalls {
		text += call + " errno 1\n"
	}
	return []byte(text)
}

// devices are those that every container has, and no others.
var devices = []string{
	"c 1:3 rwm", // null
	"c 1:5 rwm", // zero
	"c 1:7 rwm", // full
	"c 1:8 rwm", // random
	"c 1:9 rwm", // urandom
	"c 5:0 rwm", // tty
	"c 5:2 rwm", // ptmx
	"c 136:* rwm",
}

// A config is the text of a configuration, one key a line.
type config struct {
	strings.Builder
	err error
}

// set adds a line. Nothing in a value may begin another one.
func (c *config) set(key string, value ...any) {
	text := fmt.Sprint(value...)
	if strings.ContainsAny(text, "\n\r\x00") {
		c.err = errors.Join(c.err, fmt.Errorf("%s: %q is more than a line", key, text))
	}
	fmt.Fprintf(c, "%s = %s\n", key, text)
}

// render makes the configuration of a box.
func render(b container.Box, unified bool) (string, error) {
	c := &config{}
	c.set("lxc.uts.name", b.Name)
	c.set("lxc.rootfs.path", "dir:", b.Root)
	c.set("lxc.mount.auto", "proc:mixed sys:ro")
	c.set("lxc.autodev", 1)
	c.set("lxc.console.path", "none")
	c.set("lxc.tty.max", 0)
	c.set("lxc.pty.max", 64)
	c.set("lxc.signal.halt", b.Halt)
	c.set("lxc.init.cwd", b.Cwd)
	c.set("lxc.init.uid", b.UID)
	c.set("lxc.init.gid", b.GID)
	for _, variable := range b.Env {
		c.set("lxc.environment", variable)
	}
	c.connect(b.Grant.Network)
	c.confine(b)
	c.set("lxc.cgroup.dir", cgroup.Path(b.Name))
	c.limit(b.Limits, unified)
	return c.String(), c.err
}

// confine keeps the container from what is not its own.
func (c *config) confine(b container.Box) {
	c.set("lxc.seccomp.profile", filepath.Join(b.Dir, seccompName))
	if b.Base == 0 {
		c.set("lxc.cap.keep", strings.ToLower(strings.Join(container.KeptCapabilities, " ")))
	} else {
		c.set("lxc.idmap", "u 0 ", b.Base, " 65536")
		c.set("lxc.idmap", "g 0 ", b.Base, " 65536")
		c.set("lxc.rootfs.options", "idmap=container")
	}
	for _, version := range []string{"cgroup", "cgroup2"} {
		c.set("lxc."+version+".devices.deny", "a")
		for _, device := range devices {
			c.set("lxc."+version+".devices.allow", device)
		}
		for _, d := range b.Devices {
			c.set("lxc."+version+".devices.allow", d.Kind, " ", d.Major, ":", d.Minor, " rwm")
		}
	}
	for _, d := range b.Devices {
		c.set("lxc.mount.entry", d.Path, " ", strings.TrimPrefix(d.Path, "/"), " none bind,create=file 0 0")
	}
}

// connect gives the container the network that it is granted; a loopback it has
// anyway.
func (c *config) connect(n container.Network) {
	switch {
	case n.Host:
		c.set("lxc.net.0.type", "none")
	case n.Bridge == "":
		c.set("lxc.net.0.type", "empty")
		c.set("lxc.net.0.flags", "up") // the loopback
	default:
		family := "ipv4"
		if n.V6() {
			family = "ipv6"
		}
		c.set("lxc.net.0.type", "veth")
		c.set("lxc.net.0.link", n.Bridge)
		c.set("lxc.net.0.flags", "up")
		c.set("lxc.net.0.name", "eth0")
		if n.Address != "" {
			c.set("lxc.net.0."+family+".address", n.Address)
		}
		if n.Gateway != "" {
			c.set("lxc.net.0."+family+".gateway", n.Gateway)
		}
	}
}

// period is the time that the share of a processor is counted in, in µs.
const period = 100_000

func (c *config) limit(l container.Limits, unified bool) {
	quota := int64(math.Round(l.CPU * period))
	if unified {
		c.bound("lxc.cgroup2.memory.max", l.Memory)
		c.bound("lxc.cgroup2.pids.max", l.PIDs)
		if quota > 0 {
			c.set("lxc.cgroup2.cpu.max", quota, " ", period)
		}
		return
	}
	c.bound("lxc.cgroup.memory.limit_in_bytes", l.Memory)
	c.bound("lxc.cgroup.pids.max", l.PIDs)
	if quota > 0 {
		c.set("lxc.cgroup.cpu.cfs_period_us", period)
		c.set("lxc.cgroup.cpu.cfs_quota_us", quota)
	}
}

func (c *config) bound(key string, most int64) {
	if most > 0 {
		c.set(key, most)
	}
}
