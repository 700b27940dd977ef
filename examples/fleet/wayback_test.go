package fleet

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

// TestWaysBack updates a component and goes back in every way there is: by
// transforms nothing is lost, on a saved state what came since, and a restored
// generation is what it was.
func TestWaysBack(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	update(t, s, "2.0.0")
	previous(t, s, "1.0.0", "transforms")
	_, before := check(t, s)
	out := rollback(t, s)
	if !strings.Contains(out, "from application/sensor-adapter 2.0.0 to 1.0.0 by its transforms: it loses nothing; its package is fetched again") {
		t.Errorf("tranquil rollback says:\n%s", out)
	}
	running, after := check(t, s)
	if n := before.Count(); running.Version != "1.0.0" || after.Schema != 1 || after.Digest(n) != before.Digest(n) {
		t.Errorf("after going back by transforms: %+v, %v; before: %v", running, after, before)
	}
	previous(t, s, "2.0.0", "transforms")

	publish(t, s, rig.Replace(`version = "2.0.0"`, `version = "2.1.0"`), rig.Replace("from = 1\nto = 2\n", "from = 1\nto = 2\nlossy = true\n"))
	_, before = check(t, s)
	update(t, s, "2.1.0")
	later := grown(t, s, before.Count())
	previous(t, s, "1.0.0", "saved state")
	if out = rollback(t, s); !strings.Contains(out, "loses whatever the component has stored since 20") {
		t.Errorf("tranquil rollback says:\n%s", out)
	}
	running, after = check(t, s)
	n := before.Count()
	if running.Version != "1.0.0" || after.Digest(n) != before.Digest(n) {
		t.Errorf("after going back on a saved state: %+v, %v; before: %v", running, after, before)
	}
	if after.Digest(later) == "" {
		t.Logf("%d readings were lost", later-after.Count())
	}
}

// TestStateCommands does on a device what tranquil-agent offers there.
func TestStateCommands(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	update(t, s, "2.0.0")
	list := states(t, s)
	if len(list) != 1 || list[0].Version != "1.0.0" || list[0].Schema != 1 || list[0].Size == 0 || !strings.Contains(list[0].Kept, "way back") {
		t.Fatalf("states: %+v", list)
	}
	gen := fmt.Sprint(list[0].Generation)
	if out, err := s.AgentCLI(t.Context(), "state", "show", rig.SensorAdapter, gen); err != nil || !strings.Contains(out, "total.json") {
		t.Errorf("show: %v\n%s", err, out)
	}
	file := exports(t, s, gen)

	_, now := check(t, s)
	later := grown(t, s, now.Count())
	out, err := s.AgentCLI(t.Context(), "state", "restore", rig.SensorAdapter, gen, "--yes")
	if err != nil || !strings.Contains(out, "goes on with generation "+gen+"; the state that it had is generation ") {
		t.Fatalf("%v\n%s", err, out)
	}
	running, after := check(t, s)
	if running.Version != "2.0.0" || after.Schema != 2 {
		t.Errorf("after restoring: %+v, %v", running, after)
	}
	t.Logf("restored %d of %d readings", after.Count(), later)
	if list = states(t, s); len(list) != 2 || list[1].Version != "2.0.0" {
		t.Errorf("the state that was replaced is not kept: %+v", list)
	}
	if out, err = s.AgentCLI(t.Context(), "rollback", rig.SensorAdapter, "--yes"); err != nil || !strings.Contains(out, "by its transforms") {
		t.Errorf("rollback: %v\n%s", err, out)
	}
	if running, _ = check(t, s); running.Version != "1.0.0" {
		t.Errorf("after going back on the device: %+v", running)
	}
	if out, err = s.AgentCLI(t.Context(), "state", "restore", rig.SensorAdapter, "99", "--yes"); err == nil {
		t.Errorf("a generation that is not there was restored:\n%s", out)
	}
	imports(t, s, file)
}

// imports brings a state back from its archive, and has the component go on with
// it: decided at the device and from afar, where its name alone is enough.
func imports(t *testing.T, s *rig.System, file string) {
	t.Helper()
	out, err := s.AgentCLI(t.Context(), "state", "import", "sensor-adapter", file)
	list := states(t, s)
	gen := fmt.Sprint(list[len(list)-1].Generation)
	if err != nil || !strings.Contains(out, "It is generation "+gen) || list[len(list)-1].Version != "1.0.0" {
		t.Fatalf("import: %v, %+v\n%s", err, list, out)
	}
	if out, err := s.AgentCLI(t.Context(), "repair", "sensor-adapter", "--restore", gen, "--yes"); err != nil || !strings.Contains(out, "repair of 1.0.0: updated") {
		t.Errorf("repair at the device: %v\n%s", err, out)
	}
	for _, choice := range [][]string{{"--keep"}, {"--restore", gen}} {
		out, err := s.CLI(t.Context(), append([]string{"repair", s.Device, rig.SensorAdapter, "--yes", "--wait"}, choice...)...)
		if err != nil {
			t.Errorf("repair %v from afar: %v\n%s", choice, err, out)
		}
	}
	check(t, s)
}

// previous awaits what the twin says of the way back.
func previous(t *testing.T, s *rig.System, version, way string) {
	t.Helper()
	r, err := s.Await(t.Context(), "the twin shows the way back to "+version, time.Minute, func(r rig.Reported) bool {
		p := r.Components[rig.SensorAdapter].Previous
		return p.Version == version && p.Way == way
	})
	if err != nil {
		t.Fatalf("%v: %+v", err, r.Components[rig.SensorAdapter].Previous)
	}
	if p := r.Components[rig.SensorAdapter].Previous; p.SavedAt == nil || p.Schema == 0 || p.Note == "" {
		t.Errorf("the twin says too little: %+v", p)
	}
}

// rollback goes back with the command line tool, which must succeed.
func rollback(t *testing.T, s *rig.System) string {
	t.Helper()
	out, err := s.CLI(t.Context(), "rollback", s.Device, rig.SensorAdapter, "--yes", "--wait")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// grown awaits a few readings more than n.
func grown(t *testing.T, s *rig.System, n int) int {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, r := check(t, s); r.Count() > n+3 {
			return r.Count()
		}
	}
	t.Fatalf("the component still has %d readings", n)
	return 0
}

// A savedState is what the agent says of one generation.
type savedState struct {
	Generation int
	Schema     int
	Version    string
	Size       int64
	Kept       string
}

func states(t *testing.T, s *rig.System) (list []savedState) {
	t.Helper()
	out, err := s.AgentCLI(t.Context(), "state", "list", rig.SensorAdapter, "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// exports exports a state twice: to the same bytes, which are an archive of
// the state.
func exports(t *testing.T, s *rig.System, gen string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "state.tar")
	_, err1 := s.AgentCLI(t.Context(), "state", "export", rig.SensorAdapter, gen, "--output", file)
	out, err2 := s.AgentCLI(t.Context(), "state", "export", rig.SensorAdapter, gen)
	whole, err3 := os.ReadFile(file)
	if err := errors.Join(err1, err2, err3); err != nil || out != string(whole) {
		t.Fatalf("%d and %d bytes, %v", len(out), len(whole), err)
	}
	var names []string
	for r := tar.NewReader(bytes.NewReader(whole)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if !slices.Contains(names, "total.json") {
		t.Errorf("the archive has %v", names)
	}
	return file
}

// TestStateGone deletes what a component lives on: it never begins anew, but
// goes on with the newest state that was saved, and the twin says so.
func TestStateGone(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	_, saved := check(t, s)
	update(t, s, "2.0.0")
	updaters := filepath.Join(s.Dir, "agent", "updater")
	for _, harm := range []struct {
		path   string
		reboot bool
		says   string
	}{
		{filepath.Join(updaters, "application", "sensor-adapter", "state"), false, "the live state of the component was gone, it goes on with generation"},
		{filepath.Join(updaters, "application", "sensor-adapter", "state"), true, "what it has stored since is lost"},
		{updaters, true, "version 2.0.0 was put in place again"},
	} {
		s.Agent.Stop()
		if harm.reboot {
			s.Reboot()
		}
		eventually(t, "the files are gone, into which the component may be writing", func() bool { return os.RemoveAll(harm.path) == nil })
		last := lastUpdate(t, s)
		restart(t, s)
		r, err := s.Await(t.Context(), "the twin says that the state was gone", time.Minute, func(r rig.Reported) bool {
			c := r.Components[rig.SensorAdapter]
			return c.Update.ID != last && strings.Contains(c.Update.Cause, harm.says)
		})
		if err != nil {
			t.Fatal(err)
		}
		cause := r.Components[rig.SensorAdapter].Update.Cause
		t.Log(cause)
		if !strings.Contains(cause, "from version 1.0.0") {
			t.Errorf("the twin does not say which state it is: %s", cause)
		}
		goesOn(t, s, "2.0.0", saved)
	}
	update(t, s, "1.0.0")
}

// goesOn awaits that a version runs on a state that begins with an earlier one.
// It is told of before it is put in place.
func goesOn(t *testing.T, s *rig.System, version string, earlier audit.Report) {
	t.Helper()
	n := earlier.Count()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		running := s.Components(rig.SensorAdapter)
		if len(running) == 1 && running[0].Version == version {
			if report, err := audit.Dir(running[0].State); err == nil && report.Digest(n) == earlier.Digest(n) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the component does not go on with %v: %+v", earlier, running)
		}
	}
}
