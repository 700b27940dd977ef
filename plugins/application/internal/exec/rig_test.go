package exec

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

const name = "application/a"

// A rig is an updater with a component, in process.
type rig struct {
	*testing.T
	env updater.Environment
	u   *service.Updater
	ctx context.Context
	h   service.Home
}

func newRig(t *testing.T) *rig {
	t.Helper()
	t.Parallel()
	run, err := os.MkdirTemp("", "x") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	env := updater.Environment{Data: t.TempDir(), Run: run, Link: filepath.Join(run, "link"), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	u, err := open(env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	r := &rig{T: t, env: env, u: u.(*service.Updater), ctx: ctx}
	r.h, err = r.u.Home(name)
	r.must(err)
	t.Cleanup(func() {
		defer cancel()
		r.stop(time.Second)
	})
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// settings are those of a component that is the test binary in a role.
func settings(role, more string) string {
	env, _ := json.Marshal(map[string]string{"ROLE": role, "GOCOVERDIR": os.TempDir()})
	command, _ := json.Marshal([]string{plain})
	return `{"command":` + string(command) + `,"env":` + string(env) + more + `}`
}

// artifact packs files; one whose name ends in .sh is executable.
func artifact(t testing.TB, files map[string]string) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "artifact"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zipped := gzip.NewWriter(file)
	defer zipped.Close()
	archive := tar.NewWriter(zipped)
	defer archive.Close()
	for name, content := range files {
		mode := int64(0o644)
		if strings.HasSuffix(name, ".sh") {
			mode = 0o755
		}
		archive.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg})
		archive.Write([]byte(content))
	}
	return file.Name()
}

func (r *rig) tryStage(version, settings string, files map[string]string) (updater.Handle, error) {
	r.Helper()
	a, err := r.u.Stage(r.ctx, updater.StageRequest{
		Component: name, Version: version, Artifact: artifact(r, files),
		MediaType: pack.MediaTypeArtifact, Settings: []byte(settings),
	})
	return a.Handle, err
}

func (r *rig) stage(version, settings string) updater.Handle {
	r.Helper()
	h, err := r.tryStage(version, settings, map[string]string{"about": version})
	r.must(err)
	return h
}

func (r *rig) switchTo(h updater.Handle) {
	r.Helper()
	r.must(r.u.Switch(r.ctx, updater.SwitchRequest{Component: name, Handle: h}))
}

func (r *rig) start() {
	r.Helper()
	r.must(r.u.Start(r.ctx, updater.StartRequest{Component: name}))
}

func (r *rig) stop(grace time.Duration) (forced bool) {
	r.Helper()
	a, err := r.u.Stop(r.ctx, updater.StopRequest{Component: name, Grace: grace})
	r.must(err)
	return a.Forced
}

// install runs the test binary in a role.
func (r *rig) install(role, more string) updater.Handle {
	r.Helper()
	h := r.stage("1.0.0", settings(role, more))
	r.switchTo(h)
	r.start()
	return h
}

func (r *rig) save() (dir string) {
	r.Helper()
	dir = r.TempDir()
	r.must(r.u.Save(r.ctx, updater.SaveRequest{Component: name, Dir: dir}))
	return dir
}

func (r *rig) apply(dir string) {
	r.Helper()
	r.must(r.u.Apply(r.ctx, updater.ApplyRequest{Component: name, Dir: dir}))
}

func (r *rig) probe() updater.ProbeResponse {
	r.Helper()
	a, err := r.u.Probe(r.ctx, updater.ProbeRequest{Component: name})
	r.must(err)
	return a
}

func (r *rig) status() updater.StatusResponse {
	r.Helper()
	a, err := r.u.Status(r.ctx, updater.StatusRequest{Component: name})
	r.must(err)
	return a
}

func (r *rig) supervised() supervisor.Status {
	r.Helper()
	found, err := supervisor.Find(r.ctx, r.h.Run())
	r.must(err)
	if found == nil {
		return supervisor.Status{}
	}
	defer found.Close()
	return found.Status
}

// eventually polls, with a generous deadline.
func (r *rig) eventually(what string, holds func() bool) {
	r.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("not within 30 s: %s", what)
		}
	}
}

// dir makes a directory with files.
func (r *rig) dir(files map[string]string) string {
	r.Helper()
	dir := filepath.Join(r.TempDir(), "dir")
	r.fill(dir, files)
	return dir
}

func (r *rig) fill(dir string, files map[string]string) {
	r.Helper()
	r.must(os.MkdirAll(dir, 0o700))
	for name, content := range files {
		r.must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		r.must(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
}

// read returns the files of a directory.
func (r *rig) read(dir string) map[string]string {
	r.Helper()
	files := map[string]string{}
	r.must(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(content)
		return err
	}))
	return files
}
