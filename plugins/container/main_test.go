package main

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/container/internal/container"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
	"github.com/tranquil-iot/tranquil/sdk/updater/updatertest"
)

// The test binary is the updater when the kit launches it, its supervisors, and
// what enters containers. The engines are real.
func TestMain(m *testing.M) {
	if updater.Launched() || len(os.Args) == 3 && !strings.HasPrefix(os.Args[1], "-") {
		main()
	}
	os.Exit(test(m))
}

// plain is the test binary for all those processes.
var plain string

func test(m *testing.M) int {
	dir, err := os.MkdirTemp("", "container")
	if err == nil {
		defer os.RemoveAll(dir)
		plain, err = updatertest.Plain(dir)
	}
	if err != nil {
		panic(err)
	}
	supervisor.Program = plain
	return m.Run()
}

// eachEngine runs a test with every engine that the machine has, all at once:
// they wait most of the time.
func eachEngine(t *testing.T, test func(t *testing.T, engine string)) {
	t.Parallel()
	for name, engine := range driver.Engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Geteuid() != 0 {
				t.Skip("NOT TESTED: containers need root")
			}
			if err := engine.Check(container.Box{}); err != nil {
				t.Skip("NOT TESTED: ", err)
			}
			if _, err := busybox(); err != nil {
				t.Skip("NOT TESTED: ", err)
			}
			test(t, name)
		})
	}
}

// busybox is the program that the containers of the tests are made of.
func busybox() ([]byte, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("busybox is missing: install it (Debian: busybox-static)")
	}
	program, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("busybox needs libraries: install the other one (Debian: busybox-static)")
		}
	}
	return os.ReadFile(path)
}

// An entry of the archives that tests make.
type entry struct{ name, content string }

// archive makes a tar: "dir/", "name -> target", or a file.
func archive(t testing.TB, entries ...entry) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(e.content))}
		if name, target, is := strings.Cut(e.name, " -> "); is {
			h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeSymlink
		} else if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return out.String()
}

// rootfs is a root file system with busybox, and a file that has the version.
func rootfs(t testing.TB, version string, more ...entry) string {
	t.Helper()
	program, err := busybox()
	if err != nil {
		t.Fatal(err)
	}
	return archive(t, append([]entry{
		{"bin/", ""},
		{"bin/busybox", string(program)},
		{"bin/sh -> busybox", ""},
		{"tmp/", ""},
		{"etc/", ""},
		{"etc/passwd", "root:x:0:0::/:\napp:x:1000:1000::/:\n"},
		{"about", version},
	}, more...)...)
}

// artifact is a package's layer with one file in it.
func artifact(t testing.TB, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(file, gzipped(t, archive(t, entry{name, content})), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// serve is a script that goes on until it is asked to end.
const serve = `trap 'exit 0' TERM; while :; do busybox sleep 1000 & wait $!; done`

// settings are those of a container that runs a script; more are further members.
func settings(engine, script, more string) []byte {
	command, _ := json.Marshal([]string{"/bin/busybox", "sh", "-c", script})
	return []byte(`{"engine":"` + engine + `","command":` + string(command) + `,"state":{"data":"/data"},"grace":"10s"` + more + `}`)
}

// A rig is an updater with one component, in process.
type rig struct {
	*testing.T
	engine string
	ctx    context.Context
	env    updater.Environment
	u      full
}

// full is all that the updater can do.
type full interface {
	updater.UpdaterWithState
	updater.UpdaterWithQuiesce
	updater.UpdaterWithProbe
	updater.UpdaterWithStatus
}

const component = "container/a"

func newRig(t *testing.T, engine string) *rig {
	t.Helper()
	run, err := os.MkdirTemp("", "c") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	r := &rig{T: t, engine: engine}
	r.env = updater.Environment{Data: t.TempDir(), Run: run, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	u, err := driver.Open(r.env)
	if err != nil {
		t.Fatal(err)
	}
	r.u = u.(full)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	r.ctx = ctx
	t.Cleanup(func() { defer cancel(); r.stop(time.Second) })
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) home(elem ...string) string {
	return filepath.Join(append([]string{r.env.Data, "a"}, elem...)...)
}

func (r *rig) stage(version, artifact string, settings []byte) (updater.Handle, error) {
	r.Helper()
	a, err := r.u.Stage(r.ctx, updater.StageRequest{
		Component: component, Version: version, Artifact: artifact, MediaType: pack.MediaTypeArtifact, Settings: settings,
	})
	return a.Handle, err
}

// install stages, switches to and starts a container that runs a script.
func (r *rig) install(version, script, more string, files ...entry) {
	r.Helper()
	h, err := r.stage(version, artifact(r, "rootfs.tar", rootfs(r, version, files...)), settings(r.engine, script, more))
	r.must(err)
	r.must(r.u.Switch(r.ctx, updater.SwitchRequest{Component: component, Handle: h}))
	r.start()
}

func (r *rig) start() {
	r.Helper()
	r.must(r.u.Start(r.ctx, updater.StartRequest{Component: component}))
}

func (r *rig) stop(grace time.Duration) (forced bool) {
	r.Helper()
	a, err := r.u.Stop(r.ctx, updater.StopRequest{Component: component, Grace: grace})
	r.must(err)
	return a.Forced
}

func (r *rig) probe() updater.ProbeResponse {
	r.Helper()
	a, err := r.u.Probe(r.ctx, updater.ProbeRequest{Component: component})
	r.must(err)
	return a
}

func (r *rig) status() updater.StatusResponse {
	r.Helper()
	a, err := r.u.Status(r.ctx, updater.StatusRequest{Component: component})
	r.must(err)
	return a
}

func (r *rig) supervised() supervisor.Status {
	r.Helper()
	p, err := supervisor.Find(r.ctx, r.home("run"))
	r.must(err)
	if p == nil {
		return supervisor.Status{}
	}
	defer p.Close()
	return p.Status
}

// eventually polls, with a generous deadline.
func (r *rig) eventually(what string, holds func() bool) {
	r.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("not within a minute: %s; probe says %+v; the log ends with:\n%s", what, r.probe(), r.read("log", "component.log"))
		}
	}
}

func (r *rig) healthy() {
	r.Helper()
	r.eventually("healthy", func() bool { return r.probe().Healthy })
}

// read returns a file of the component's home, "" if it is not there.
func (r *rig) read(elem ...string) string {
	data, _ := os.ReadFile(r.home(elem...))
	return string(data)
}

// data returns a file of the component's state.
func (r *rig) data(name string) string { return r.read("state", "data", name) }

// running returns which version of a component runs in a container below data: a
// process whose root is that version's, and that has the component's environment.
func running(data, component string) string {
	for _, process := range glob("/proc/[0-9]*") { // no further: that would list each of these directories
		env, _ := os.ReadFile(process + "/environ")
		if !strings.Contains(string(env), "TRANQUIL_COMPONENT="+component+"\x00") {
			continue
		}
		info, err := os.Stat(process + "/root")
		if err != nil {
			continue
		}
		for _, dir := range glob(filepath.Join(data, filepath.Base(component), "versions", "*", "files", "rootfs")) {
			if own, err := os.Stat(dir); err == nil && os.SameFile(info, own) {
				about, _ := os.ReadFile(filepath.Join(dir, "about"))
				return string(about)
			}
		}
	}
	return ""
}

func glob(pattern string) []string {
	names, _ := filepath.Glob(pattern)
	return names
}
