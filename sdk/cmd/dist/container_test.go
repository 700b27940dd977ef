package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A container is one of LXC, with a root of its own.
type container struct {
	*testing.T
	dir    string // with its root, in which the test can write
	exited chan struct{}
}

// boot starts a container whose init is its root's, with what root says of that
// (lxc.container.conf(5)).
func boot(t *testing.T, root string) *container {
	t.Helper()
	c := &container{T: t, dir: t.TempDir(), exited: make(chan struct{})}
	config := fmt.Sprintf("lxc.include = /usr/share/lxc/config/common.conf\nlxc.uts.name = device\nlxc.rootfs.path = %s\nlxc.net.0.type = empty\nlxc.net.0.flags = up\n"+
		"lxc.init.cmd = /sbin/init\nlxc.console.path = none\nlxc.tty.max = 0\nlxc.mount.auto =\nlxc.mount.auto = proc:rw sys:mixed cgroup:mixed\n", root)
	if err := os.WriteFile(filepath.Join(c.dir, "config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	start := exec.Command("lxc-start", "-P", c.dir, "-n", "device", "-f", filepath.Join(c.dir, "config"), "-F", "-o", filepath.Join(c.dir, "log"))
	start.Stdout, start.Stderr = &said, &said
	if err := start.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		start.Wait()
		close(c.exited)
	}()
	t.Cleanup(func() {
		exec.Command("lxc-stop", "-P", c.dir, "-n", "device", "-k").Run()
		<-c.exited
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			t.Logf("the container said:\n%s%s", &said, log)
		}
	})
	return c
}

// try runs a shell's command in the container.
func (c *container) try(script string) (string, error) {
	attach := exec.Command("lxc-attach", "-P", c.dir, "-n", "device", "--clear-env", "-v", "HOME=/root", "-v", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "-v", "DEBIAN_FRONTEND=noninteractive", "--", "/bin/sh", "-c", script)
	out, err := attach.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// run is try of what must not fail.
func (c *container) run(script string) string {
	c.Helper()
	out, err := c.try(script)
	if err != nil {
		c.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// eventually waits until a command says what it should.
func (c *container) eventually(script, want string) {
	c.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		out, _ := c.try(script)
		if out == want {
			return
		}
		select {
		case <-c.exited:
			c.Fatalf("the container has ended before %s said %q", script, want)
		case <-time.After(300 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			logs, _ := c.try("cat /var/log/tranquil-agent.log; journalctl -u tranquil-agent -n 50 --no-pager; ps")
			c.Fatalf("%s says %q, not %q\n%s", script, out, want, logs)
		}
	}
}

// need skips a test that lacks a program.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil || os.Geteuid() != 0 {
			t.Skipf("NOT TESTED: it needs root and %s (make deps)", name)
		}
	}
}
