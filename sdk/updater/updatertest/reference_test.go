package updatertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// reference is a correct updater, and the smallest one. Its components do not
// really run: each is a directory with these entries, and runs if there is a
// file "running" that has the version in it.
//
//	versions/V  what Stage unpacked        state   the state's files
//	current     the handle switched to     running the version that runs
//
// broken names one promise that it does not keep.
type reference struct {
	root   string
	broken string
	memory map[string]string // what a broken one remembers and should not
}

func openReference(broken string) updater.Open {
	return func(env updater.Environment) (updater.Updater, error) {
		return &reference{env.Data, broken, map[string]string{}}, nil
	}
}

func (u *reference) path(component string, elem ...string) string {
	return filepath.Join(append([]string{u.root, filepath.Base(component)}, elem...)...)
}

// put writes a file whole or not at all. Power cuts are not what is tested.
func put(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func get(path string) string {
	content, _ := os.ReadFile(path)
	return string(content)
}

func (u *reference) Stage(_ context.Context, r updater.StageRequest) (updater.StageResponse, error) {
	staged := u.path(r.Component, "versions", r.Version)
	if _, err := os.Stat(staged); err == nil && u.broken == "stages once" {
		return updater.StageResponse{}, os.ErrExist
	}
	if u.broken == "stage stops" {
		os.Remove(u.path(r.Component, "running"))
	}
	if u.broken == "stage consumes" {
		defer os.Truncate(r.Artifact, 0)
	}
	if u.broken == "half-staged" {
		if err := u.stageSlowly(r.Component); err != nil {
			return updater.StageResponse{}, err
		}
	}
	handle := updater.Handle{Version: 1, Data: []byte(r.Version)}
	if u.broken == "handle in memory" {
		u.memory[r.Version] = r.Version
		handle.Data = []byte(fmt.Sprintf("memory:%s", r.Version))
	}
	return updater.StageResponse{Handle: handle}, put(staged, get(r.Artifact))
}

// stageSlowly leaves a directory in its own way when it is killed.
func (u *reference) stageSlowly(component string) error {
	half := u.path(component, "half")
	if err := os.MkdirAll(filepath.Dir(half), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(half, 0o700); err != nil {
		return err
	}
	time.Sleep(150 * time.Millisecond)
	return os.Remove(half)
}

func (u *reference) Unstage(_ context.Context, r updater.UnstageRequest) error {
	if u.broken == "unstages all" {
		return os.RemoveAll(u.path(r.Component))
	}
	if u.broken == "unstages by handle" && r.Handle.IsZero() {
		return errors.New("no such handle")
	}
	err := os.Remove(u.path(r.Component, "versions", r.Version))
	if errors.Is(err, os.ErrNotExist) && u.broken != "unstages once" {
		return nil
	}
	return err
}

func (u *reference) Switch(_ context.Context, r updater.SwitchRequest) error {
	version := string(r.Handle.Data)
	if rest, ok := cutMemory(version); ok {
		if version, ok = u.memory[rest]; !ok {
			return errors.New("unknown handle")
		}
	}
	if u.broken == "switch starts" {
		defer u.Start(context.Background(), updater.StartRequest{Component: r.Component})
	}
	if u.broken == "switch loses state" {
		os.RemoveAll(u.path(r.Component, "state"))
	}
	if u.broken == "switches once" && get(u.path(r.Component, "current")) != "" && version != "" {
		return nil
	}
	if u.broken == "ignores the zero handle" && version == "" {
		return nil
	}
	return put(u.path(r.Component, "current"), version)
}

func cutMemory(version string) (string, bool) {
	var rest string
	n, _ := fmt.Sscanf(version, "memory:%s", &rest)
	return rest, n == 1
}

func (u *reference) Start(_ context.Context, r updater.StartRequest) error {
	version := get(u.path(r.Component, "current"))
	if version == "" {
		return errors.New("no version is switched to")
	}
	if u.broken == "starts once" && get(u.path(r.Component, "running")) != "" {
		return errors.New("runs already")
	}
	if u.broken == "runs in memory" {
		u.memory[r.Component] = version
	}
	if err := put(u.path(r.Component, "state", "count"), "0"); err != nil {
		return err
	}
	return put(u.path(r.Component, "running"), version)
}

func (u *reference) Stop(_ context.Context, r updater.StopRequest) (updater.StopResponse, error) {
	if u.broken == "never stops" || u.broken == "runs in memory" && u.memory[r.Component] == "" {
		return updater.StopResponse{}, nil
	}
	if u.broken == "stops all" {
		u.stopAll()
	}
	err := os.Remove(u.path(r.Component, "running"))
	if errors.Is(err, os.ErrNotExist) && u.broken != "stops once" {
		err = nil
	}
	return updater.StopResponse{}, err
}

func (u *reference) stopAll() {
	all, _ := filepath.Glob(u.path("*", "running"))
	for _, f := range all {
		os.Remove(f)
	}
}

func (u *reference) Save(_ context.Context, r updater.SaveRequest) error {
	state := u.path(r.Component, "state")
	if u.broken == "save moves" {
		os.Remove(r.Dir)
		return os.Rename(state, r.Dir)
	}
	if u.broken == "save trusts" && r.Snapshot != "" {
		return os.CopyFS(r.Dir, os.DirFS(r.Snapshot))
	}
	if _, err := os.Stat(state); err != nil {
		return os.MkdirAll(state, 0o700)
	}
	return os.CopyFS(r.Dir, os.DirFS(state))
}

// Apply moves the old state aside before it moves the new one in.
func (u *reference) Apply(_ context.Context, r updater.ApplyRequest) error {
	state := u.path(r.Component, "state")
	if _, err := os.Stat(r.Dir); errors.Is(err, os.ErrNotExist) && u.broken != "applies once" {
		return nil
	}
	switch u.broken {
	case "apply merges":
		return os.CopyFS(state, os.DirFS(r.Dir))
	case "apply not atomic":
		return u.applySlowly(state, r.Dir)
	}
	if err := os.RemoveAll(state); err != nil {
		return err
	}
	return os.Rename(r.Dir, state)
}

// applySlowly loses what it has moved when it is killed and begins again.
func (u *reference) applySlowly(state, dir string) error {
	os.RemoveAll(state)
	os.MkdirAll(state, 0o700)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		os.Rename(filepath.Join(dir, e.Name()), filepath.Join(state, e.Name()))
	}
	return nil
}

func (u *reference) Snapshot(ctx context.Context, r updater.SnapshotRequest) error {
	if u.broken == "snapshot stops" {
		u.stopAll()
	}
	return u.Save(ctx, updater.SaveRequest{Component: r.Component, Dir: r.Dir})
}

func (u *reference) Quiesce(context.Context, updater.QuiesceRequest) error {
	if u.broken == "quiesce stops" {
		u.stopAll()
	}
	return nil
}

func (u *reference) Resume(context.Context, updater.ResumeRequest) error {
	if u.broken == "resumes never" {
		return errors.New("was not quiesced")
	}
	return nil
}

func (u *reference) Confirm(_ context.Context, r updater.ConfirmRequest) error {
	if u.broken == "confirms once" && get(u.path(r.Component, "confirmed")) != "" {
		return errors.New("is confirmed already")
	}
	return put(u.path(r.Component, "confirmed"), "yes")
}

func (u *reference) Probe(_ context.Context, r updater.ProbeRequest) (updater.ProbeResponse, error) {
	healthy := get(u.path(r.Component, "running")) != "" || u.broken == "always healthy"
	return updater.ProbeResponse{Healthy: healthy && u.broken != "never healthy", Reason: "does not run"}, nil
}

func (u *reference) Status(_ context.Context, r updater.StatusRequest) (updater.StatusResponse, error) {
	running := get(u.path(r.Component, "running"))
	if u.broken == "runs in memory" {
		running = u.memory[r.Component]
	}
	if u.broken == "status of what runs" {
		return updater.StatusResponse{Version: running, Running: running != ""}, nil
	}
	return updater.StatusResponse{Version: get(u.path(r.Component, "current")), Running: running != ""}, nil
}

// settings shows that any JSON goes.
var settings = json.RawMessage(`{"command": ["none"]}`)
