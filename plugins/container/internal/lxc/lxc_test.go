package lxc

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/plugins/container/internal/container"
)

func box() container.Box {
	return container.Box{
		Name: "web-01234567", Dir: "/home/box", Root: "/home/rootfs", Command: []string{"/bin/web", "-x", "a b"},
		Env: []string{"PATH=/bin", "A=b c"}, Cwd: "/srv", UID: 33, GID: 34, Halt: 15,
		Limits: container.Limits{Memory: 64 << 20, CPU: 0.5, PIDs: 64},
	}
}

// TestRender: this is all that LXC is told.
func TestRender(t *testing.T) {
	got, err := render(box(), false)
	if err != nil {
		t.Fatal(err)
	}
	want := `lxc.uts.name = web-01234567
lxc.rootfs.path = dir:/home/rootfs
lxc.mount.auto = proc:mixed sys:ro
lxc.autodev = 1
lxc.console.path = none
lxc.tty.max = 0
lxc.pty.max = 64
lxc.signal.halt = 15
lxc.init.cwd = /srv
lxc.init.uid = 33
lxc.init.gid = 34
lxc.environment = PATH=/bin
lxc.environment = A=b c
lxc.net.0.type = empty
lxc.net.0.flags = up
lxc.seccomp.profile = /home/box/seccomp
lxc.cap.keep = chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot audit_write setfcap
lxc.cgroup.dir = tranquil/web-01234567
lxc.cgroup.memory.limit_in_bytes = 67108864
lxc.cgroup.pids.max = 64
lxc.cgroup.cpu.cfs_period_us = 100000
lxc.cgroup.cpu.cfs_quota_us = 50000
`
	var lines []string
	for line := range strings.Lines(got) {
		if !strings.Contains(line, ".devices.") {
			lines = append(lines, line)
		}
	}
	if d := cmp.Diff(want, strings.Join(lines, "")); d != "" {
		t.Error(d)
	}
	for _, key := range []string{"lxc.cgroup.devices.deny = a\n", "lxc.cgroup2.devices.deny = a\n", "lxc.cgroup.devices.allow = c 1:3 rwm\n"} {
		if !strings.Contains(got, key) {
			t.Errorf("%q is missing", key)
		}
	}
}

func TestRenderUnprivileged(t *testing.T) {
	b := box()
	b.Base = 0x20000000
	got, err := render(b, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"lxc.idmap = u 0 536870912 65536\n", "lxc.idmap = g 0 536870912 65536\n", "lxc.rootfs.options = idmap=container\n",
		"lxc.cgroup2.memory.max = 67108864\n", "lxc.cgroup2.cpu.max = 50000 100000\n", "lxc.cgroup2.pids.max = 64\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is missing in\n%s", line, got)
		}
	}
	if strings.Contains(got, "lxc.cap.keep") || strings.Contains(got, "lxc.cgroup.memory") {
		t.Errorf("too much in\n%s", got)
	}
}

// TestGrants: what the operator gives, and nothing else.
func TestGrants(t *testing.T) {
	b := box()
	b.Devices = []container.Device{{Path: "/dev/ttyS0", Kind: "c", Major: 4, Minor: 64}}
	for network, want := range map[container.Network]string{
		{Host: true}:    "lxc.net.0.type = none\n",
		{Bridge: "br0"}: "lxc.net.0.type = veth\nlxc.net.0.link = br0\nlxc.net.0.flags = up\nlxc.net.0.name = eth0\nlxc.seccomp",
		{Bridge: "br0", Address: "10.0.0.2/24", Gateway: "10.0.0.1"}: "lxc.net.0.ipv4.address = 10.0.0.2/24\nlxc.net.0.ipv4.gateway = 10.0.0.1\n",
		{Bridge: "br0", Address: "fd00::2/64"}:                       "lxc.net.0.ipv6.address = fd00::2/64\n",
	} {
		b.Grant.Network = network
		got, err := render(b, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{want, "lxc.cgroup.devices.allow = c 4:64 rwm\n", "lxc.mount.entry = /dev/ttyS0 dev/ttyS0 none bind,create=file 0 0\n"} {
			if !strings.Contains(got, text) {
				t.Errorf("%+v: %q is missing in\n%s", network, text, got)
			}
		}
	}
}

// TestNoOtherLine: whatever gets here, none of it becomes another line of
// configuration.
func TestNoOtherLine(t *testing.T) {
	for _, hostile := range []string{"x\nlxc.include = /etc/x", "x\rlxc.mount.entry = / x none bind 0 0", "x\x00"} {
		for name, change := range map[string]func(*container.Box){
			"env":  func(b *container.Box) { b.Env = []string{"A=" + hostile} },
			"cwd":  func(b *container.Box) { b.Cwd = hostile },
			"root": func(b *container.Box) { b.Root = hostile },
			"name": func(b *container.Box) { b.Name = hostile },
		} {
			b := box()
			change(&b)
			if _, err := render(b, false); err == nil || !strings.Contains(err.Error(), "more than a line") {
				t.Errorf("%s %q: error %v", name, hostile, err)
			}
		}
	}
}

func TestCommands(t *testing.T) {
	b := box()
	b.Dir = t.TempDir()
	command, fresh, err := Engine{}.Command(b)
	if err != nil || fresh != nil {
		t.Fatal(fresh, err)
	}
	for what, c := range map[string]struct{ got, want []string }{
		"start":  {command, []string{"lxc-start", "-P", "/run", "-n", "web-01234567", "-F", "-f", b.Dir + "/config", "--", "/bin/web", "-x", "a b"}},
		"attach": {Engine{}.Inside(b, []string{"true", "-v"}), []string{"lxc-attach", "-P", "/run", "-n", "web-01234567", "-f", b.Dir + "/config", "--clear-env", "-v", "PATH=/bin", "-v", "A=b c", "-u", "33", "-g", "34", "--", "true", "-v"}},
	} {
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Error(what, d)
		}
	}
}
