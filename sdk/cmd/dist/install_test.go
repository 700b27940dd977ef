package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// here is the architecture of this machine.
func here() architecture {
	for _, a := range architectures {
		if a.goarch == runtime.GOARCH {
			return a
		}
	}
	return architecture{}
}

// built has all packages of one release, and the agent's of the next, made of the
// same programs: they were compiled once.
var built = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "tranquil-dist-test-"); err != nil {
		return "", err
	}
	return dir, errors.Join(assemble(dir, "1.0.0"), assemble(dir, "1.1.0", "agent"))
})

// assemble makes the packages of a release below dir.
func assemble(dir, version string, products ...string) error {
	d := distribution{out: filepath.Join(dir, version), version: "v" + version, time: time.Unix(1_800_000_000, 0), work: filepath.Join(dir, "work"), level: 1}
	return d.run([]string{here().debian}, products)
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := built(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// release is a file of a release for this machine.
func release(t *testing.T, version, pattern string) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, version, pattern))
	if len(files) != 1 {
		t.Fatalf("%s has %v", version, files)
	}
	return files[0]
}

// counter is a component that counts its starts.
const counter = `#!/bin/sh
cd "$TRANQUIL_STATE"
starts=$(cat starts 2>/dev/null || echo 0)
echo $((starts + 1)) >starts
echo $$ >pid
while :; do sleep 1; done
`

// counterPackage makes its package.
func counterPackage(t *testing.T, dir string) {
	t.Helper()
	sources := t.TempDir()
	err := errors.Join(
		os.Mkdir(filepath.Join(sources, "files"), 0o755),
		os.WriteFile(filepath.Join(sources, "files", "counter"), []byte(counter), 0o755),
		os.WriteFile(filepath.Join(sources, "tranquil.toml"), []byte(`type = "application"
name = "counter"
version = "2.0.0"
[state]
schema = 1
[settings]
command = ["./counter"]
[probe]
deadline = "60s"
probation = "1s"
[[artifact]]
path = "files"
os = "linux"
arch = "`+runtime.GOARCH+`"
`), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	r, err := pack.ReadRecipe(sources)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.BuildFile(filepath.Join(dir, "counter.tar")); err != nil {
		t.Fatal(err)
	}
}

const device = `components = ["application/counter"]
[trust]
unsigned = true
`

const (
	stateOfCounter = "/var/lib/tranquil/updater/application"
	starts         = "cat $(find " + stateOfCounter + " -name starts)"
	alive          = "kill -0 $(cat $(find " + stateOfCounter + " -name pid))"
)

// place copies files into a folder.
func place(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// debian is where make deps has put a Debian with systemd and nothing else.
func debian(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(cache, "tranquil", "debian")
	if _, err := os.Stat(filepath.Join(root, "sbin", "init")); err != nil {
		t.Skip("NOT TESTED: there is no Debian to install into (make deps)")
	}
	return root
}

// TestDebian installs all in a Debian container with systemd: a bare device becomes one
// of the backend's by one command, puts a component in place, and is upgraded, removed
// and purged.
func TestDebian(t *testing.T) {
	t.Parallel()
	need(t, "lxc-start")
	root := debian(t)
	upper := filepath.Join(t.TempDir(), "upper")
	home := filepath.Join(upper, "root")
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	place(t, home, release(t, "1.0.0", "tranquil-agent_*.deb"), release(t, "1.1.0", "tranquil-agent_*.deb"),
		release(t, "1.0.0", "tranquil-backend_*.deb"), release(t, "1.0.0", "tranquil_*.deb"))
	counterPackage(t, home)
	c := boot(t, "overlay:"+root+":"+upper)
	c.eventually("systemctl is-system-running", "running")
	backendInDebian(c)

	// A device that was not enrolled yet has nothing failed.
	if said := c.run("dpkg -i /root/tranquil-agent_1.0.0_*.deb"); !strings.Contains(said, "Next: enrol the device") {
		t.Errorf("dpkg said %s", said)
	}
	c.run("test $(systemctl is-enabled tranquil-agent) = enabled; systemctl start tranquil-agent; systemctl is-system-running; test -f /usr/share/man/man8/tranquil-agent.8.gz")
	if err := os.WriteFile(filepath.Join(upper, "etc/tranquil/config.d/device.toml"), []byte(device), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := c.run("$(tranquil device invite device-1)"); !strings.Contains(said, "It is registered") {
		t.Errorf("enrol said %s", said)
	}
	c.run("tranquil-agent config && systemctl restart tranquil-agent && systemctl is-active tranquil-agent") // which has waited until it is ready
	c.run("tranquil-agent sideload /root/counter.tar --yes")
	c.run(alive)
	t.Log(c.run("systemd-analyze security --no-pager tranquil-agent | tail -1; systemd-analyze verify --man=no tranquil-agent.service"))

	// An upgrade starts the new agent, and no component. What the operator wrote stays.
	c.run("echo '# mine' >>/etc/tranquil/agent.toml")
	before := c.run("systemctl show -p MainPID tranquil-agent")
	c.run("dpkg -i /root/tranquil-agent_1.1.0_*.deb </dev/null")
	if after := c.run("systemctl is-active tranquil-agent && systemctl show -p MainPID tranquil-agent"); strings.Contains(after, before) {
		t.Errorf("the agent before the upgrade was %s, after it is %s", before, after)
	}
	c.run("grep -q '^# mine' /etc/tranquil/agent.toml && tranquil-agent status | grep -q 'counter *2.0.0 *true'")
	if got := c.run(starts); got != "1" {
		t.Errorf("the component was started %s times", got)
	}

	// So does the script for an init without systemd.
	c.run("systemctl stop tranquil-agent; /etc/init.d/tranquil-agent start")
	c.eventually("/etc/init.d/tranquil-agent status && tranquil-agent status | grep -c 'counter *2.0.0 *true'", "tranquil-agent runs\n1")
	c.run("/etc/init.d/tranquil-agent stop && ! /etc/init.d/tranquil-agent status && ! tranquil-agent status && test -s /var/log/tranquil-agent.log")
	c.run("systemctl start tranquil-agent")

	// Without the agent the component runs on, and its state is there.
	c.run("dpkg -r tranquil-agent && test -f /etc/tranquil/config.d/device.toml && test ! -e /usr/bin/tranquil-agent && ! pidof tranquil-agent; " + alive)
	if got := c.run(starts); got != "1" {
		t.Errorf("the component was started %s times", got)
	}
	pid := c.run("cat $(find " + stateOfCounter + " -name pid)")
	c.run("dpkg -P tranquil-agent tranquil-backend tranquil && ! getent passwd tranquil-backend; rm -r /root/.config")
	if left := c.run("find / -xdev -path /root -prune -o -path '*tranquil*' -print; ls -d /proc/" + pid + " 2>/dev/null || true"); left != "" {
		t.Errorf("it left %s", left)
	}
}

// backendInDebian installs the backend, and the command line, beside it.
func backendInDebian(c *container) {
	c.run("dpkg -i /root/tranquil-backend_*.deb /root/tranquil_*.deb && systemctl is-active tranquil-backend")
	c.run("printf '[bridge]\\nlwm2m = \"coaps://127.0.0.1:5684\"\\n[files]\\ncoap = \"coaps://127.0.0.1:5685\"\\n' >>/etc/tranquil/backend.toml && rm -f /var/lib/tranquil-backend/endpoints.json && systemctl restart tranquil-backend")
	c.eventually("test -s /var/lib/tranquil-backend/endpoints.json && stat -c %U:%a /var/lib/tranquil-backend/credentials.json", "tranquil-backend:600")
	c.run("TRANQUIL_HUB=$(sed -n 's/.*\"owner\": *\"\\([^\"]*\\)\".*/\\1/p' /var/lib/tranquil-backend/credentials.json) tranquil device create device-1")
	c.run("tranquil login https://127.0.0.1:9443 --ca /var/lib/tranquil-backend/ca/ca.pem </var/lib/tranquil-backend/admin.password")
	c.Log(c.run("systemd-analyze security --no-pager tranquil-backend | tail -1; systemd-analyze verify --man=no tranquil-backend.service"))
}

// TestBusyBox does the same with the archive, in a container that has BusyBox and
// nothing else.
func TestBusyBox(t *testing.T) {
	t.Parallel()
	need(t, "lxc-start", "busybox")
	root := filepath.Join(t.TempDir(), "root")
	busybox, _ := exec.LookPath("busybox")
	for _, dir := range []string{"bin", "sbin", "usr/bin", "usr/sbin", "etc/init.d", "proc", "sys", "dev", "tmp", "root", "var/log", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(busybox)
	err = errors.Join(err, os.WriteFile(filepath.Join(root, "bin/busybox"), program, 0o755),
		os.WriteFile(filepath.Join(root, "etc/inittab"), []byte("::sysinit:/etc/init.d/rcS\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc/init.d/rcS"), []byte("#!/bin/sh\nhostname device\n"), 0o755),
		os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chroot", root, "/bin/busybox", "--install", "-s").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	home := filepath.Join(root, "root")
	place(t, home, release(t, "1.0.0", "tranquil-agent_*.tar.gz"), release(t, "1.1.0", "tranquil-agent_*.tar.gz"))
	counterPackage(t, home)
	c := boot(t, "dir:"+root)
	c.eventually("hostname", "device")

	if said := c.run("tar xzf /root/tranquil-agent_1.0.0_*.tar.gz -C / && /usr/lib/tranquil/setup install 2>&1"); !strings.Contains(said, "Next: enrol the device") {
		t.Errorf("setup said %s", said)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/tranquil/config.d/device.toml"), []byte("endpoint = \"device-1\"\n"+device), 0o600); err != nil {
		t.Fatal(err)
	}
	running := "tranquil-agent status | grep -c counter"
	c.eventually(running, "1") // with no more than the configuration
	c.run("tranquil-agent sideload /root/counter.tar --yes")
	c.run(alive)
	agent := "pidof tranquil-agent"
	before := c.run(agent)
	c.run("kill -9 " + before)
	c.eventually(running, "1")
	killed := c.run(agent)
	c.run("echo '# mine' >>/etc/tranquil/agent.toml; tar xzf /root/tranquil-agent_1.1.0_*.tar.gz -C / && /usr/lib/tranquil/setup install")
	c.eventually("test $("+agent+") != "+killed+" && "+running, "1")
	c.run("grep -q '^# mine' /etc/tranquil/agent.toml && test $(grep -c tranquil /etc/inittab) = 1")
	if got := c.run(starts); got != "1" {
		t.Errorf("the component was started %s times", got)
	}
	pid := c.run("cat $(find " + stateOfCounter + " -name pid)")
	c.run("cp /usr/lib/tranquil/setup /root && /usr/lib/tranquil/setup remove && test -d /var/lib/tranquil")
	c.eventually(agent+" || echo none", "none")
	c.run(alive + " && /root/setup purge")
	if left := c.run("find / -xdev -path /proc -prune -o -path /root -prune -o -path '*tranquil*' -print; grep tranquil /etc/inittab; ls -d /proc/" + pid + " 2>/dev/null || true"); left != "" {
		t.Errorf("it left %s", left)
	}
}
