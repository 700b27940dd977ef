package updatertest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// tree maps the path of each file below a directory to what it holds.
type tree map[string]string

func (r *rig) read(dir string) tree {
	r.Helper()
	t := tree{}
	r.must("read the state", filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path) // path is below dir
		if d.Type()&fs.ModeSymlink != 0 {
			t[name], err = os.Readlink(path)
			return err
		}
		content, err := os.ReadFile(path)
		t[name] = string(content)
		return err
	}))
	return t
}

func (r *rig) save(dir string) {
	r.Helper()
	r.must("Save", r.call(func(ctx context.Context) error {
		return r.u.Save(ctx, updater.SaveRequest{Component: r.component, Dir: dir})
	}))
}

// saved is the component's state, as Save tells it.
func (r *rig) saved() tree {
	r.Helper()
	dir := r.TempDir()
	r.save(dir)
	return r.read(dir)
}

func (r *rig) apply(dir string) {
	r.Helper()
	r.must("Apply", r.call(func(ctx context.Context) error {
		return r.u.Apply(ctx, updater.ApplyRequest{Component: r.component, Dir: dir})
	}))
}

// another makes a directory with another state than the stopped component's,
// and returns what is in it.
func (r *rig) another() (dir string, content tree) {
	r.Helper()
	dir = filepath.Join(r.TempDir(), "state")
	r.must("copy", os.Mkdir(dir, 0o700))
	r.save(dir)
	copied := dir + "-copy" // of its own: saved files may be hard links
	r.must("copy", os.CopyFS(copied, os.DirFS(dir)))
	if r.suite.Change != nil {
		r.suite.Change(r, copied)
	} else {
		r.must("change the state", os.WriteFile(filepath.Join(copied, "updatertest"), []byte(filepath.Base(r.TempDir())), 0o600))
	}
	return copied, r.read(copied)
}

// stateIs checks the stopped component's state.
func (r *rig) stateIs(want tree, when string) {
	r.Helper()
	if d := cmp.Diff(want, r.saved()); d != "" {
		r.Errorf("state %s (-want +got):\n%s", when, d)
	}
}

// stopped installs version 1, lets it run and stops it.
func (r *rig) stopped() updater.Handle {
	r.Helper()
	h := r.install(v1)
	r.stop()
	return h
}

func saveLeavesState(r *rig) {
	r.stopped()
	changed, _ := r.another() // so that there is some state
	r.apply(changed)
	dir := filepath.Join(r.TempDir(), "saved")
	r.must("make a directory", os.Mkdir(dir, 0o700))
	r.save(dir)
	want := r.read(dir)
	r.must("remove the saved state", os.RemoveAll(dir))
	r.stateIs(want, "after its copy was removed")
	r.start()
	r.runs(v1)
}

func saveAfterSnapshot(r *rig) {
	r.install(v1)
	snapshot := filepath.Join(r.TempDir(), "snapshot")
	dir := filepath.Join(r.TempDir(), "saved")
	r.must("make directories", errors.Join(os.Mkdir(snapshot, 0o700), os.Mkdir(dir, 0o700)))
	r.must("Snapshot", r.call(func(ctx context.Context) error {
		return r.u.Snapshot(ctx, updater.SnapshotRequest{Component: r.component, Dir: snapshot})
	}))
	r.stop()
	changed, want := r.another()
	r.apply(changed)
	r.must("Save", r.call(func(ctx context.Context) error {
		return r.u.Save(ctx, updater.SaveRequest{Component: r.component, Dir: dir, Snapshot: snapshot})
	}))
	if d := cmp.Diff(want, r.read(dir)); d != "" {
		r.Errorf("saved with a snapshot at hand (-want +got):\n%s", d)
	}
	r.stateIs(want, "after Save with a snapshot at hand")
}

func applyRoundTrip(r *rig) {
	r.stopped()
	before := r.saved()
	original := filepath.Join(r.TempDir(), "original")
	r.must("make a directory", os.Mkdir(original, 0o700))
	r.save(original)
	changed, want := r.another()
	r.apply(changed)
	r.stateIs(want, "after Apply")
	r.apply(original)
	r.stateIs(before, "after Apply of what it was before")
	r.start()
	r.runs(v1)
}

func applyTwice(r *rig) {
	r.stopped()
	changed, want := r.another()
	r.apply(changed)
	r.apply(changed) // as the first call left it
	r.stateIs(want, "after Apply was called twice")
}

func stateSurvives(r *rig) {
	old := r.stopped()
	changed, want := r.another()
	r.apply(changed)
	next := r.stage(v2)
	r.switchTo(next)
	r.stateIs(want, "after Switch")
	r.switchTo(old)
	r.unstage(v2, next)
	r.stateIs(want, "after Switch back and Unstage")
}
