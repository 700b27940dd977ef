package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestRemove removes a component, which leaves its state behind and comes back
// with it; then it is purged, and nothing of its state is on the disk.
func TestRemove(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	update(t, s, "2.0.0")
	_, state := whole(t, s)
	takeAway(t, s)
	if len(left(t, s)) == 0 {
		t.Error("no state is kept")
	}
	cli(t, s, "rollback", s.Device, rig.SensorAdapter, "--yes", "--wait")
	sound(t, s, "2.0.0", state)
	takeAway(t, s, "--purge")
	eventually(t, "nothing of the state is left", func() bool { return len(left(t, s)) == 0 }) // the twin says it before the last step
	cli(t, s, "update", s.Device, rig.SensorAdapter, "1.0.0", "--wait")
	check(t, s)
}

// takeAway removes the component, after which nothing of it runs.
func takeAway(t *testing.T, s *rig.System, how ...string) {
	t.Helper()
	cli(t, s, append([]string{"remove", s.Device, rig.SensorAdapter, "--yes", "--wait"}, how...)...)
	if running := s.Components(rig.SensorAdapter); len(running) > 0 {
		t.Errorf("it runs still: %+v", running)
	}
	_, err := s.Await(t.Context(), "the twin says so", rig.UpdateTime, func(r rig.Reported) bool {
		c := r.Components[rig.SensorAdapter]
		return c.Version == "" && !c.Running && c.Update.Result == "removed"
	})
	if err != nil {
		t.Fatal(err)
	}
}

// left lists the files of the component's history below the agent's data.
func left(t *testing.T, s *rig.System) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.Dir, "agent"), func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // the agent cleans up meanwhile
			return nil
		}
		if strings.Contains(path, "/history/") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestMute: a version whose state nobody can save is left by whoever says that it may be
// lost, or wants none of it; by nobody else.
func TestMute(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0")
	for version, save := range map[string]string{"1.1.0": `"false"`, "1.2.0": `"cp", "/proc/version"`} {
		file, err := s.Package(t.Context(), "1.0.0", append(slices.Clone(quick), rig.Replace(`version = "1.0.0"`, fmt.Sprintf("version = %q", version)),
			rig.Replace(`state = "directory"`, `state = "commands"`+"\n"+`commands = { save = [`+save+`], apply = ["true"], running = true }`))...)
		must(t, err)
		must(t, s.Push(t.Context(), file))
	}
	update(t, s, "1.1.0")
	for want, in := range map[string][]string{
		"command false: exit status 1": {"update", s.Device, rig.SensorAdapter, "1.2.0", "--again", "--wait"},
		"did not hand it over":         {"remove", s.Device, rig.SensorAdapter, "--yes", "--wait"},
	} {
		if out, err := s.CLI(t.Context(), in...); err == nil || !strings.Contains(out+err.Error(), want) {
			t.Errorf("%v: %v: %s", in, err, out)
		}
		check(t, s)
	}
	cli(t, s, "update", s.Device, rig.SensorAdapter, "1.2.0", "--may-lose-state", "--yes", "--again", "--wait")
	update(t, s, "1.1.0")
	takeAway(t, s, "--purge")
}
