package fleet

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestApart: a component whose version and state do not belong together stays
// stopped until somebody decides, from afar, on which state it goes on; what
// was live is saved.
func TestApart(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	update(t, s, "2.0.0")
	gen := fmt.Sprint(states(t, s)[0].Generation)
	s.Agent.Stop()
	s.Reboot()
	ruin(t, filepath.Join(s.Dir, "agent"))
	belongTo(t, filepath.Join(s.Dir, "agent", "state", rig.SensorAdapter, "live.json"), "0.9.0")
	forget(t, s, `{"components": {"application/sensor-adapter": {"version": null, "attempt": null}}}`)
	restart(t, s)
	says(t, s, func(r rig.Reported) bool { return r.Mode == "safe" && !r.Components[rig.SensorAdapter].Running })
	if out, err := s.CLI(t.Context(), "repair", s.Device, "--wait"); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	says(t, s, func(r rig.Reported) bool {
		c := r.Components[rig.SensorAdapter]
		return r.Mode == "" && !c.Running && strings.Contains(c.Update.Cause, "--keep or --restore")
	})
	if out, err := s.CLI(t.Context(), "repair", s.Device, rig.SensorAdapter); err == nil || !strings.Contains(out, "generation "+gen+": of 1.0.0") {
		t.Errorf("what can be chosen: %v\n%s", err, out)
	}
	out, err := s.CLI(t.Context(), "repair", s.Device, rig.SensorAdapter, "--restore", gen, "--yes", "--wait")
	if err != nil || !strings.Contains(out, "goes on with generation "+gen) {
		t.Fatalf("%v\n%s", err, out)
	}
	agree(t, s, func(r rig.Reported) bool {
		c := r.Components[rig.SensorAdapter]
		return c.Running && c.Version == "2.0.0"
	})
	if list := states(t, s); !slices.ContainsFunc(list, func(e savedState) bool { return e.Version == "0.9.0" }) {
		t.Errorf("what was live is not saved: %+v", list)
	}
	update(t, s, "1.0.0")
}

func says(t *testing.T, s *rig.System, fits func(rig.Reported) bool) {
	t.Helper()
	if r, err := s.Await(t.Context(), "the twin says so", 2*time.Minute, fits); err != nil {
		t.Fatalf("%v: %+v", err, r.Components[rig.SensorAdapter])
	}
}

// belongTo has the live state be one of another version, which cannot be had.
func belongTo(t *testing.T, file, version string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "\n")
	var mark map[string]any
	if err := json.Unmarshal([]byte(text), &mark); err != nil {
		t.Fatal(err)
	}
	mark["live"] = map[string]any{"version": version, "schema": 2, "handle": map[string]any{"Version": 1, "Data": []byte(version)}}
	if b, err = json.Marshal(mark); err == nil {
		err = os.WriteFile(file, fmt.Appendf(nil, "%x\n%s", sha256.Sum256(b), b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
