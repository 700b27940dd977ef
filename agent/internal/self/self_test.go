package self

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
	"github.com/tranquil-iot/tranquil/sdk/updater/updatertest"
)

// The test binary is also the updater that the kit launches, for an agent of which a
// file says which program it is.
func TestMain(m *testing.M) { updatertest.Main(m, Type, open) }

func open(env updater.Environment) (updater.Updater, error) {
	return &Updater{dir: env.Data, agent: func() (string, int) { return started(env.Data), pid }}, nil
}

const pid = 1 // of the agent

func startedFile(dir string) string { return filepath.Join(filepath.Dir(dir), "started") }

func started(dir string) string {
	program, _ := os.ReadFile(startedFile(dir))
	return string(program)
}

// start starts the agent, which is registered at once.
func start(t testing.TB, dir string) string {
	t.Helper()
	chosen, err := Choose(dir, "/installed")
	if err != nil {
		t.Log(err)
	}
	for name, text := range map[string]string{startedFile(dir): chosen, filepath.Join(dir, "registered"): strconv.Itoa(pid)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return running(dir, chosen)
}

// artifact is an agent that can tell its version, and no more.
func artifact(t testing.TB, says string) string {
	t.Helper()
	return artifactOf(t, map[string]string{Program: "#!/bin/sh\necho " + says + "\n"})
}

func artifactOf(t testing.TB, scripts map[string]string) string {
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
	for _, name := range slices.Sorted(maps.Keys(scripts)) { // the same bytes each time
		script := scripts[name]
		archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(script)), Typeflag: tar.TypeReg})
		archive.Write([]byte(script))
	}
	return file.Name()
}

func TestConformance(t *testing.T) {
	t.Parallel()
	updatertest.Run(t, updatertest.Suite{
		Type: Type,
		Open: func(env updater.Environment) (updater.Updater, error) { return open(env) },
		Boot: func(t testing.TB, env updater.Environment) { start(t, env.Data) },
		Artifact: func(t testing.TB, version string) updatertest.Artifact {
			return updatertest.Artifact{Path: artifact(t, Program+" "+version), MediaType: pack.MediaTypeArtifact}
		},
		Running: func(_ testing.TB, env updater.Environment, _ string) string {
			version, _, _ := strings.Cut(running(env.Data, started(env.Data)), "-")
			return version
		},
	})
}

// A rig is the updater of an agent.
type rig struct {
	*testing.T
	*Updater
	ctx context.Context
}

func newRig(t *testing.T) rig {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	u, err := open(updater.Environment{Data: dir, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	return rig{t, u.(*Updater), t.Context()}
}

func (r rig) stageIt(version, says string) (updater.Handle, error) {
	r.Helper()
	a, err := r.Stage(r.ctx, updater.StageRequest{Component: Component, Version: version, MediaType: pack.MediaTypeArtifact, Artifact: artifact(r, says)})
	return a.Handle, err
}

func (r rig) staged(version string) updater.Handle {
	r.Helper()
	h, err := r.stageIt(version, Program+" "+version)
	r.must(err)
	return h
}

func (r rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r rig) to(h updater.Handle) error {
	return r.Switch(r.ctx, updater.SwitchRequest{Component: Component, Handle: h})
}

func (r rig) waits(err error) {
	r.Helper()
	if !errors.Is(err, updater.ErrReboot) {
		r.Fatalf("%v, want one that asks for a start", err)
	}
}

// proven brings a version to run.
func (r rig) proven(version string) updater.Handle {
	r.Helper()
	h := r.staged(version)
	r.waits(r.to(h))
	start(r, r.dir)
	r.must(r.to(h))
	r.must(r.Confirm(r.ctx, updater.ConfirmRequest{Component: Component}))
	return h
}

// TestTrial: a version that does not prove itself is started three times, and then what
// ran before; the update hears of it, and the version may be tried again when it is
// asked for again. What has proven itself is started as often as it takes.
func TestTrial(t *testing.T) {
	for _, before := range []string{"", "1.0.0"} {
		t.Run("before "+before, func(t *testing.T) {
			r := newRig(t)
			var old updater.Handle
			if before != "" {
				old = r.proven(before)
			}
			start(t, r.dir)
			bad := r.staged("2.0.0")
			r.waits(r.to(bad))
			for range 3 {
				if runs := start(t, r.dir); runs != string(bad.Data) {
					t.Fatalf("%q runs", runs)
				}
				if !Tried(r.dir, started(r.dir)) {
					t.Error("it counts as proven")
				}
			}
			if runs := start(t, r.dir); runs != string(old.Data) {
				t.Fatalf("%q runs after three starts in vain", runs)
			}
			if p, err := r.Probe(r.ctx, updater.ProbeRequest{Component: Component}); err != nil || p.Healthy {
				t.Error("what runs is taken for the version that was gone back from", p, err)
			}
			if err := r.Confirm(r.ctx, updater.ConfirmRequest{Component: Component}); err == nil {
				t.Error("and confirmed")
			}
			if err := r.to(bad); err == nil || errors.Is(err, updater.ErrReboot) {
				t.Error(err)
			}
			r.must(r.to(old)) // the way back
			r.must(r.Unstage(r.ctx, updater.UnstageRequest{Component: Component, Version: "2.0.0", Handle: bad}))
			for range 10 {
				if runs := start(t, r.dir); runs != string(old.Data) {
					t.Fatalf("%q runs", runs)
				}
			}
			again := r.proven("2.0.0")
			if runs := start(t, r.dir); runs != string(again.Data) {
				t.Errorf("%q runs", runs)
			}
		})
	}
}

// TestTurnsBack: a version that runs and is not well goes back to the one before, without
// a count.
func TestTurnsBack(t *testing.T) {
	r := newRig(t)
	old := r.proven("1.0.0")
	bad := r.staged("2.0.0")
	r.waits(r.to(bad))
	start(t, r.dir)
	r.must(r.to(bad))
	if a, err := r.Probe(r.ctx, updater.ProbeRequest{Component: Component}); err != nil || !a.Healthy {
		t.Error(a, err)
	}
	r.must(Registered(r.dir, true)) // another process
	if a, err := r.Probe(r.ctx, updater.ProbeRequest{Component: Component}); err != nil || a.Healthy {
		t.Error(a, err)
	}
	r.waits(r.to(old))
	r.waits(r.to(old))
	if runs := start(t, r.dir); runs != string(old.Data) || Tried(r.dir, started(r.dir)) {
		t.Errorf("%q runs", runs)
	}
	r.must(r.to(old))
	r.must(r.Start(r.ctx, updater.StartRequest{Component: Component}))
	r.must(r.Unstage(r.ctx, updater.UnstageRequest{Component: Component, Version: "2.0.0"}))
	if left, _ := filepath.Glob(filepath.Join(r.dir, "versions", "2*")); len(left) > 0 {
		t.Error(left)
	}
	if err := r.Unstage(r.ctx, updater.UnstageRequest{Component: Component, Version: "1.0.0", Handle: old}); err == nil {
		t.Error("the version that runs is removed")
	}
}

// TestRefused: what cannot be the agent is refused before anything changes.
func TestRefused(t *testing.T) {
	r := newRig(t)
	for says, want := range map[string]string{
		Program + " 2.0.1": "not version 2.0.0",
		"; exit 3":         "does not run here",
	} {
		if _, err := r.stageIt("2.0.0", says); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", says, err)
		}
	}
	_, err := r.Stage(r.ctx, updater.StageRequest{
		Component: Component, Version: "2.0.0", MediaType: pack.MediaTypeArtifact,
		Artifact: artifactOf(t, map[string]string{Program: "#!/bin/sh\necho " + Program + " 2.0.0\n", "tranquil-updater-x": "\x7fELF"}),
	})
	if err == nil || !strings.Contains(err.Error(), "tranquil-updater-x of the artifact does not run here") {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, "versions", "*")); len(left) > 0 {
		t.Error(left)
	}
}

// TestChoose: whatever lies in the directory, there is an agent that runs.
func TestChoose(t *testing.T) {
	for name, damage := range map[string]func(r rig) error{
		"no note":           func(r rig) error { return os.Remove(notePath(r.dir)) },
		"half a note":       func(r rig) error { return os.WriteFile(notePath(r.dir), []byte(`{"current":`), 0o600) },
		"no version":        func(r rig) error { return os.RemoveAll(filepath.Join(r.dir, "versions")) },
		"half a program":    func(r rig) error { n, _ := readNote(r.dir); return os.Truncate(program(r.dir, n.Current), 3) },
		"not executable":    func(r rig) error { n, _ := readNote(r.dir); return os.Chmod(program(r.dir, n.Current), 0o600) },
		"an escape":         func(r rig) error { return os.WriteFile(notePath(r.dir), []byte(`{"current":"../../../etc"}`), 0o600) },
		"a directory there": func(r rig) error { return errors.Join(os.Remove(notePath(r.dir)), os.Mkdir(notePath(r.dir), 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.proven("1.0.0")
			r.must(damage(r))
			got, err := Choose(r.dir, "/installed")
			if got != "/installed" || (err == nil) != (name == "no note") {
				t.Error(got, err)
			}
			if name == "half a note" { // and the next update works
				r.proven("2.0.0")
			}
		})
	}
}

// TestDamage: what the disk has spoiled of a version is noticed, not used, and put in
// place again while it runs.
func TestDamage(t *testing.T) {
	const name, script = "tranquil-updater-x", "#!/bin/sh\nexit 2\n"
	r := newRig(t)
	stage := func() updater.Handle {
		a, err := r.Stage(r.ctx, updater.StageRequest{
			Component: Component, Version: "1.0.0", MediaType: pack.MediaTypeArtifact,
			Artifact: artifactOf(t, map[string]string{Program: "#!/bin/sh\necho " + Program + " 1.0.0\n", name: script}),
		})
		r.must(err)
		return a.Handle
	}
	h := stage()
	r.waits(r.to(h))
	start(t, r.dir)
	r.must(r.to(h))
	of := filepath.Join(versionDir(r.dir, string(h.Data)), name)
	for what, damage := range map[string]func() error{
		"cut":  func() error { return os.Truncate(of, 5) },
		"gone": func() error { return os.Remove(of) },
		"sums": func() error { return os.Truncate(filepath.Join(filepath.Dir(of), sumsName), 5) },
	} {
		if names, err := Damaged(r.dir); err != nil || len(names) > 0 || Intact(of) != nil {
			t.Errorf("before %s: %v, %v", what, names, err)
		}
		r.must(damage())
		if names, err := Damaged(r.dir); err != nil || len(names) != 1 || (Intact(of) == nil) != (what == "sums") {
			t.Errorf("%s: %v, %v, %v", what, names, err, Intact(of))
		}
		if again := stage(); string(again.Data) != string(h.Data) {
			t.Fatalf("%s is staged", again.Data)
		}
		if text, err := os.ReadFile(of); err != nil || string(text) != script {
			t.Errorf("%s: %q, %v", what, text, err)
		}
	}
}

func FuzzNote(f *testing.F) {
	f.Add(`{"current":"1.0.0-0123456789ab","trial":{"starts":2},"before":"","proven":{"a":true}}`)
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(notePath(dir), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _ := Choose(dir, "/installed"); got != "/installed" {
			t.Errorf("%s is chosen", fmt.Sprintf("%q", got))
		}
	})
}
