package fleet

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestLostJournal kills the agent in the steps that stop, change and start the
// component, and takes the journal from it: the version that it then has run,
// in safe mode and after a repair, is the one that the state is of. By default
// in a few steps, with TRANQUIL_LOST=all in each from save to commit.
func TestLostJournal(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	l := traceFrom(s.Agent.Log)
	update(t, s, "2.0.0")
	r := follow(t, l)
	steps := []string{"transform", "start"}
	if os.Getenv("TRANQUIL_LOST") == "all" {
		steps = []string{"save", "rewrite", "transform", "apply", "start", "probe", "commit"}
	}
	for n, p := range r.points {
		if !p.back && slices.Contains(steps, p.step) {
			t.Run(p.step, func(t *testing.T) { lose(t, s, r, p, n) })
		}
	}
}

func lose(t *testing.T, s *rig.System, r route, p point, n int) {
	before, history := check(t, s)
	wanted := map[string]string{"1.0.0": "2.0.0", "2.0.0": "1.0.0"}[before.Version]
	l := traceFrom(s.Agent.Log)
	if err := s.Wish(t.Context(), rig.SensorAdapter, fmt.Sprintf(`{"version": %q, "attempt": %d}`, wanted, n+1)); err != nil {
		t.Fatal(err)
	}
	r.reach(t, l, p, rand.New(rand.NewPCG(3, uint64(n))))
	s.Agent.Kill()
	ruin(t, filepath.Join(s.Dir, "agent"))
	forget(t, s, `{"components": {"application/sensor-adapter": {"version": null, "attempt": null}}}`)
	restart(t, s)
	agree(t, s, func(r rig.Reported) bool { return r.Mode == "safe" && r.Components[rig.SensorAdapter].Running })
	if out, err := s.CLI(t.Context(), "repair", s.Device, "--wait"); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	agree(t, s, func(r rig.Reported) bool {
		c := r.Components[rig.SensorAdapter]
		return r.Mode == "" && c.Running && c.Version != "" && strings.Contains(c.Update.Cause, "learned from the updater")
	})
	running, _ := check(t, s)
	unbroken(t, s, running.Version, history)
	t.Logf("lost in %s of an update to %s; %s runs", p, wanted, running.Version)
}

// agree waits until the twin says so, and holds the version that runs against
// the schema of its state.
func agree(t *testing.T, s *rig.System, fits func(rig.Reported) bool) {
	t.Helper()
	if _, err := s.Await(t.Context(), "the component runs", 2*time.Minute, fits); err != nil {
		t.Fatal(err)
	}
	if running, report := check(t, s); running.Version != fmt.Sprintf("%d.0.0", report.Schema) {
		t.Fatalf("version %s runs on %v", running.Version, report)
	}
}
