package exec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/plugins/application/internal/systemd"
	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// systemdVariable tells an updater that the kit launches where systemd is.
const systemdVariable = "SYSTEMD_OF_TEST"

// managerIn is the manager of a user whose files are all in dir; "" is none.
func managerIn(dir string) systemd.Manager {
	if dir == "" {
		return systemd.Manager{}
	}
	return systemd.Manager{
		Socket: filepath.Join(dir, "systemd", "private"), Transient: filepath.Join(dir, "systemd", "user"),
		Permanent: filepath.Join(dir, "config", "systemd", "user"), Target: "default.target", User: true,
	}
}

// A machine has a real systemd, which is not the host's: a user's, that believes the
// machine to have been booted by systemd.
type machine struct {
	testing.TB
	dir      string // of all its files
	shutdown func()
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	if _, err := os.Stat(systemdProgram); err != nil || os.Geteuid() != 0 {
		t.Skip("######## NOT TESTED: it needs root and systemd (make deps) ########")
	}
	dir, err := os.MkdirTemp("", "y") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{TB: t, dir: dir}
	m.boot()
	t.Cleanup(func() {
		m.shutdown()
		m.removeGroups()
		os.RemoveAll(dir)
	})
	return m
}

const systemdProgram = "/lib/systemd/systemd"

// bootScript gives a systemd control groups of its own: each one takes those below for its
// own, and removes what it does not know.
const bootScript = `for at in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
	[ ! -e $at/cgroup.procs ] || { mkdir -p $at/$1 && echo $$ >$at/$1/cgroup.procs; } || exit 1
done
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec ` + systemdProgram + " --user"

// removeGroups removes what is left of them.
func (m *machine) removeGroups() {
	for _, at := range []string{"", "systemd", "unified"} {
		var dirs []string
		filepath.WalkDir(filepath.Join("/sys/fs/cgroup", at, filepath.Base(m.dir)), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			os.Remove(dir)
		}
	}
}

func (m *machine) driver() Driver { return Driver{Systemd: managerIn(m.dir)} }

func (m *machine) boot() {
	m.Helper()
	cmd := exec.Command("unshare", "--mount", "/bin/sh", "-c", bootScript, "boot", filepath.Base(m.dir))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + m.dir, "XDG_RUNTIME_DIR=" + m.dir, "XDG_CONFIG_HOME=" + filepath.Join(m.dir, "config")}
	log, err := os.Create(filepath.Join(m.dir, "log"))
	if err != nil {
		m.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	m.shutdown = func() {
		cmd.Process.Signal(syscall.SIGTERM) // it stops all its units
		cmd.Wait()
	}
	answers := func() bool {
		conn, err := net.Dial("unix", m.driver().Systemd.Socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	for deadline := time.Now().Add(time.Minute); !answers(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			m.shutdown()
			m.Fatalf("systemd has not begun within a minute:\n%s", text)
		}
	}
}

// reboot forgets all that is not to outlast a boot.
func (m *machine) reboot() {
	m.Helper()
	m.shutdown()
	for _, gone := range []string{m.driver().Systemd.Socket, m.driver().Systemd.Transient} {
		if err := os.RemoveAll(gone); err != nil {
			m.Fatal(err)
		}
	}
	m.boot()
}

// systemctl asks systemd as people do.
func (m *machine) systemctl(args ...string) string {
	m.Helper()
	cmd := exec.Command("systemctl", append([]string{"--user"}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+m.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.Fatalf("systemctl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// units are those that run.
func (m *machine) units() (found []string) {
	m.Helper()
	for line := range strings.Lines(m.systemctl("list-units", "--plain", "--no-legend", "--state=active", "tranquil-*")) {
		found = append(found, strings.Fields(line)[0])
	}
	return found
}

// newUnitRig is a rig on a machine of its own.
func newUnitRig(t *testing.T) (*rig, *machine) {
	t.Helper()
	r, m := newRig(t), newMachine(t)
	r.use(m.driver())
	return r, m
}

// use has another updater look after the component, as after an update of the agent.
func (r *rig) use(d Driver) {
	r.Helper()
	u, err := d.Open(r.env)
	r.must(err)
	r.u = u.(*service.Updater)
	r.h, err = r.u.Home(name)
	r.must(err)
}

func unitSettings(role, more string) string {
	return settings(role, `,"driver":"systemd","unit":{"Service":{"StandardOutput":"null"}}`+more)
}

func (r *rig) running(d Driver) supervisor.Status {
	r.Helper()
	status, _, err := d.Find(r.ctx, r.h)
	r.must(err)
	return status
}

// TestUnits: systemd runs the component, also while there is no updater, and starts
// it again when it crashes; another updater finds it. A version that is to run
// below a supervisor takes turns with it.
func TestUnits(t *testing.T) {
	r, m := newUnitRig(t)
	d := m.driver()
	old := r.stage("1.0.0", unitSettings("served", `,"health":{"http":"/v1/health"}`))
	r.switchTo(old)
	r.start()
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	first := r.running(d)
	r.use(d)
	r.start()
	if now := r.running(d); now.Process != first.Process || now.State != supervisor.Running || now.Spec.Version != string(old.Data) {
		t.Errorf("%+v, before %+v", now, first)
	}
	r.must(syscall.Kill(first.Process, syscall.SIGKILL))
	r.eventually("it runs again", func() bool {
		s := r.running(d)
		return s.Restarts == 1 && s.State == supervisor.Running && s.Process != first.Process
	})
	if p := r.probe(); p.Healthy || !strings.Contains(p.Reason, "it crashed 1 times") {
		t.Errorf("%+v", p)
	}
	r.stop(time.Minute)
	next := r.stage("2.0.0", settings("served", ""))
	r.switchTo(next)
	r.start()
	if s := r.supervised(); s.State != supervisor.Running || r.status().Version != "2.0.0" {
		t.Errorf("%+v", s)
	}
	r.switchTo(old)
	r.start() // ends the other
	if s := r.running(d); r.supervised().State != "" || s.Spec.Version != string(old.Data) {
		t.Errorf("%+v", s)
	}
	r.stop(time.Minute)
	r.must(r.u.Switch(r.ctx, updater.SwitchRequest{Component: name, Handle: next}))
	r.must(r.u.Unstage(r.ctx, updater.UnstageRequest{Component: name, Version: "1.0.0", Handle: old}))
	if left, _ := filepath.Glob(filepath.Join(d.Systemd.Transient, "*.service")); len(left) > 0 {
		t.Error("units are left:", left)
	}
}

// TestUnitsByForce: what does not end when it is asked to is killed, with all that it
// has started.
func TestUnitsByForce(t *testing.T) {
	r, m := newUnitRig(t)
	r.switchTo(r.stage("1.0.0", unitSettings("stubborn", "")))
	r.start()
	r.eventually("it has begun", func() bool { return len(r.read(r.h.State())) == 2 })
	if !r.stop(100 * time.Millisecond) {
		t.Error("it was not forced")
	}
	for name, pid := range r.read(r.h.State()) {
		if _, err := os.Stat("/proc/" + pid); err == nil && !zombie(pid) {
			t.Errorf("%s runs on", name)
		}
	}
	if s := r.running(m.driver()); s.State != "" {
		t.Errorf("%+v", s)
	}
}

// TestProcesses: several processes are one component: it is well when all are, and
// all end together.
func TestProcesses(t *testing.T) {
	r, m := newUnitRig(t)
	d := m.driver()
	h, err := r.tryStage("1.0.0", unitSettings("sleep", `,"processes":{"web":["./w$b.sh","50% of $HOME \"it's\""],"queue":["sleep","1000"]}`), map[string]string{
		"w$b.sh": "#!/bin/sh\necho \"$1\" >$TRANQUIL_STATE/argument\n[ ! -e crash ] || exit 7\nexec sleep 1000\n",
	})
	r.must(err)
	r.switchTo(h)
	r.start()
	r.eventually("all run", func() bool { return len(r.read(r.h.State())) == 1 && r.probe().Healthy })
	if got := r.read(r.h.State())["argument"]; got != "50% of $HOME \"it's\"\n" {
		t.Errorf("its argument is %q", got)
	}
	if found := m.units(); len(found) != 3 {
		t.Error(found)
	}
	r.fill(filepath.Join(r.h.Path("versions"), string(h.Data), "files"), files{"crash": ""})
	m.systemctl("kill", "--signal=KILL", "tranquil-*.web.service")
	r.eventually("it is noticed", func() bool {
		p := r.probe()
		return !p.Healthy && strings.Contains(p.Reason, "crashed") || strings.Contains(p.Reason, "exit status 7")
	})
	r.stop(time.Minute)
	if found := m.units(); len(found) != 0 {
		t.Error("after the stop there are", found)
	}
	if s := r.running(d); s.State != "" {
		t.Errorf("%+v", s)
	}
}

// TestUnitRefused: what systemd would pass over in silence is refused when the version
// is staged.
func TestUnitRefused(t *testing.T) {
	r, _ := newUnitRig(t)
	for more, want := range map[string]string{
		`,"driver":"systemd","unit":{"Service":{"MemoryMaximum":"1M"}}`:                  "Unknown key",
		`,"driver":"systemd","unit":{"Service":{"MemoryMax":"a lot"}}`:                   "memory limit",
		`,"driver":"systemd","unit":{"Service":{"ExecStart":"/bin/true"}}`:               "not a package's to set",
		`,"driver":"systemd","unit":{"Service":{"User":"nobody"}}`:                       "nobody but root",
		`,"driver":"systemd","unit":{"Service":{"Nice":"1\n[Install]"}}`:                 "one line",
		`,"driver":"systemd","unit":{"Service":{"Type":"forking"}}`:                      "simple, exec or notify",
		`,"driver":"systemd","unit":{"Service":{"Type":["exec","idle"]}}`:                "simple, exec or notify",
		`,"driver":"systemd","unit":{"Service":{"Type":[]}}`:                             "simple, exec or notify",
		`,"driver":"systemd","unit":{"Service":{"TimeoutSec":"infinity"}}`:               "not a package's to set",
		`,"driver":"systemd","unit":{"Service":{"RootImage":"x"}}`:                       "not a package's to set",
		`,"driver":"systemd","unit":{"Service":{"UnsetEnvironment":"TRANQUIL_STATE"}}`:   "not a package's to set",
		`,"driver":"systemd","unit":{"Unit":{"RefuseManualStop":"yes"}}`:                 "not a package's to set",
		`,"driver":"systemd","unit":{"Unit":{"AssertPathIsDirectory":""}}`:               "not a package's to set",
		`,"driver":"systemd","processes":{"a":["-b"]}`:                                   "begins with a sign",
		`,"driver":"systemd","unit":{"Install":{"Alias":"x.service"}}`:                   `section "Install"`,
		`,"driver":"systemd","processes":{"a":["b"]},"unit":{"Service":{"Nice":"very"}}`: "nice priority",
		`,"driver":"upstart"`: "there are the drivers",
		`,"boot":true`:        "need driver",
		`,"driver":"systemd","processes":{"A":["b"]}`: "a-z",
	} {
		for range 2 { // a second time too
			if _, err := r.tryStage("1.0.0", settings("sleep", more), map[string]string{"about": "x"}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", more, err, want)
			}
		}
	}
}

// TestBoot: a component that is to run before the agent does is started by a boot, all
// of its processes, also if what was in /run is gone; but not while it is being updated.
// Any other waits for the agent.
func TestBoot(t *testing.T) {
	for setting, boots := range map[string]bool{`,"boot":true`: true, ``: false} {
		t.Run(fmt.Sprint(boots), func(t *testing.T) {
			r, m := newUnitRig(t)
			d := m.driver()
			r.switchTo(r.stage("1.0.0", unitSettings("served", `,"health":{"http":"/v1/health"},"processes":{"web":["sleep","1000"]}`+setting)))
			r.start()
			r.must(os.RemoveAll(r.env.Run))
			m.reboot()
			if boots {
				r.eventually("it runs and is well", func() bool { return r.running(d).State == supervisor.Running && r.probe().Healthy })
				if found := m.units(); len(found) != 2 || r.running(d).Restarts > 0 {
					t.Error(found, r.running(d))
				}
			} else if s := r.running(d); s.State != "" {
				t.Errorf("nobody has asked for it: %+v", s)
			}
			r.start()
			r.eventually("it runs", func() bool { return r.running(d).State == supervisor.Running })
			r.stop(time.Minute)
			m.reboot()
			if s := r.running(d); s.State != "" {
				t.Errorf("it was stopped, and yet: %+v", s)
			}
		})
	}
}

// TestQueued: a start that waits for something else in systemd is called off by whoever
// has asked for it, and by a stop.
func TestQueued(t *testing.T) {
	r, m := newUnitRig(t)
	d := m.driver()
	slow := func() {
		t.Helper()
		r.fill(d.Systemd.Transient, files{"slow.service": "[Service]\nType=oneshot\nExecStart=/bin/sleep 1000\n"})
		m.systemctl("daemon-reload")
		m.systemctl("start", "--no-block", "slow.service")
	}
	queued := func() bool { return strings.Contains(m.systemctl("list-jobs", "--no-legend"), "tranquil-") }
	slow()
	r.switchTo(r.stage("1.0.0", unitSettings("sleep", `,"boot":true,"unit":{"Unit":{"After":"slow.service"}}`)))
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- r.u.Start(ctx, updater.StartRequest{Component: name}) }()
	r.eventually("the start waits", queued)
	cancel()
	if err := <-started; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.eventually("the start is called off", func() bool { return !queued() })
	for _, unit := range r.glob(filepath.Join(d.Systemd.Permanent, "tranquil-*")) { // as a boot does
		m.systemctl("start", "--no-block", filepath.Base(unit))
	}
	if s := r.running(d); !queued() || s.State != supervisor.Starting {
		t.Errorf("%+v", s)
	}
	if err := r.u.Save(r.ctx, updater.SaveRequest{Component: name, Dir: t.TempDir()}); err == nil {
		t.Error("a state is saved that the component may have the next moment")
	}
	r.stop(time.Minute)
	if s := r.running(d); queued() || s.State != "" {
		t.Errorf("after the stop: %+v", s)
	}
}

func (r *rig) glob(pattern string) []string {
	r.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		r.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found
}

// TestUnitFileGone: what runs is found and stopped, whatever became of its unit's file.
func TestUnitFileGone(t *testing.T) {
	r, m := newUnitRig(t)
	r.switchTo(r.stage("1.0.0", unitSettings("sleep", "")))
	r.start()
	for _, file := range r.glob(filepath.Join(m.driver().Systemd.Transient, "tranquil-*")) {
		r.must(os.Remove(file))
	}
	if !r.status().Running {
		t.Error("it is not found")
	}
	if r.stop(time.Minute); len(m.units()) > 0 {
		t.Error("it runs on:", m.units())
	}
}

// FuzzUnit: whatever a package says, the unit has the sections and the lines that it is
// to have, and no more.
func FuzzUnit(f *testing.F) {
	f.Add([]byte(`{"command":["./a","%n $x \\ \" \n"],"driver":"systemd","env":{"A":"b\nc"},"unit":{"Service":{"Nice":"5"},"Unit":{"After":["a","b"]}},"processes":{"p":["q"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseSettings(data)
		if err != nil || s.Driver != driverSystemd {
			return
		}
		h := service.Home{Component: name, Dir: "/x"}
		for _, u := range s.units(h, service.Version{ID: "1.0.0-0123456789ab"}, supervisor.Spec{Dir: "/x", Env: []string{"A=b"}}) {
			text := u.Text("t.target")
			var headers []string
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "[") {
					headers = append(headers, strings.TrimSpace(line))
				} else if !strings.Contains(line, "=") && line != "\n" {
					t.Errorf("line %q", line)
				}
			}
			want := []string{"[Unit]", "[Service]"}
			if u.Boot {
				want = append(want, "[Install]")
			}
			if d := cmp.Diff(want, headers); d != "" {
				t.Error(d)
			}
		}
	})
}
