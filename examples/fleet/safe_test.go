package fleet

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestSafeMode damages the journal and both its copies while the agent is
// away. The agent then registers, has the component run, says what is wrong,
// and refuses updates, however often it is started; until it is repaired
// through the twin.
func TestSafeMode(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	_, history := check(t, s)
	s.Agent.Kill()
	ruin(t, filepath.Join(s.Dir, "agent"))
	for _, attempt := range []string{"1", "2"} {
		restart(t, s)
		if _, err := s.Await(t.Context(), "the agent is in safe mode", time.Minute, func(r rig.Reported) bool {
			return r.Mode == "safe" && strings.Contains(r.Fault, "journal") && r.State == "malfunction" && r.Components[rig.SensorAdapter].Running
		}); err != nil {
			t.Fatal(err)
		}
		cause := refused(t, s, `{"version": "2.0.0", "attempt": `+attempt+`}`)
		if !strings.Contains(cause, "safe mode") || !strings.Contains(cause, "tranquil repair") {
			t.Errorf("the cause does not tell what to do: %s", cause)
		}
		unbroken(t, s, "1.0.0", history)
		s.Agent.Stop()
	}
	restart(t, s)
	if out, err := s.CLI(t.Context(), "repair", s.Device, "--wait"); err != nil || !strings.Contains(out, "has left safe mode") {
		t.Fatalf("%s, %v", out, err)
	}
	r, err := s.Await(t.Context(), "all is well", time.Minute, func(r rig.Reported) bool {
		c := r.Components[rig.SensorAdapter]
		return r.Mode == "" && c.Version == "1.0.0" && strings.Contains(c.Update.Cause, "learned from the updater")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r.Components[rig.SensorAdapter].Update.Cause)
	c, err := s.Ask(t.Context(), `{"version": "2.0.0", "attempt": 3}`)
	if err != nil || c.Update.Result != "updated" {
		t.Fatalf("%+v, %v", c, err)
	}
	unbroken(t, s, "2.0.0", history)
}

// ruin fills the store and its copies with garbage.
func ruin(t *testing.T, data string) {
	t.Helper()
	garbage := harms[2]
	for _, path := range []string{"store", "store.copy-0", "store.copy-1"} {
		if err := filepath.WalkDir(filepath.Join(data, path), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			return garbage.do(path)
		}); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}
