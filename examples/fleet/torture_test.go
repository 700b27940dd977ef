package fleet

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

// TestTorture kills the agent at random moments of updates there and back: at
// TRANQUIL_TORTURE moments, or at a few. Whatever the moment, the old or the
// new version runs in the end, and the sequence is unbroken.
func TestTorture(t *testing.T) {
	kills := 3
	if n, err := strconv.Atoi(os.Getenv("TRANQUIL_TORTURE")); err == nil {
		kills = n
	}
	s := start(t, "1.0.0", "2.0.0")
	length := typical(t, s)
	t.Logf("an update takes %s", length)
	ends := map[string]int{}
	for n := range kills {
		before, history := check(t, s)
		wanted := other(before.Version)
		last := lastUpdate(t, s)
		if err := s.Wish(t.Context(), rig.SensorAdapter, `{"version": "`+wanted+`"}`); err != nil {
			t.Fatal(err)
		}
		moment := rand.N(length)
		time.Sleep(moment) // the moment is random on purpose
		s.Agent.Kill()
		if err := s.StartAgent(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := s.Ended(t.Context(), last)
		if err != nil {
			t.Fatalf("kill %d after %s: %v", n+1, moment, err)
		}
		result := c.Update.Result
		t.Logf("kill %d after %s: %s, %s runs, downtime %v", n+1, moment, result, c.Version, c.Update.Downtime)
		if want := map[string]string{"updated": wanted, "turned back": before.Version}[result]; want != c.Version {
			t.Fatalf("%s, but %s runs: %s", result, c.Version, c.Update.Cause)
		}
		ends[result]++
		unbroken(t, s, c.Version, history)
	}
	t.Logf("ends: %v", ends)
}

// typical measures how long an update takes, there and back.
func typical(t *testing.T, s *rig.System) time.Duration {
	begin := time.Now()
	update(t, s, "2.0.0")
	update(t, s, "1.0.0")
	return time.Since(begin) / 2
}

func other(version string) string {
	return map[string]string{"1.0.0": "2.0.0", "2.0.0": "1.0.0"}[version]
}

func lastUpdate(t *testing.T, s *rig.System) string {
	t.Helper()
	r, err := s.Reported(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r.Components[rig.SensorAdapter].Update.ID
}

// unbroken waits for new readings of the version that should run, and checks
// that all of before are still there.
func unbroken(t *testing.T, s *rig.System, version string, before audit.Report) {
	t.Helper()
	running, first := check(t, s)
	if running.Version != version {
		t.Fatalf("version %s runs instead of %s", running.Version, version)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		_, now := check(t, s)
		if now.Count() <= first.Count() {
			continue
		}
		if now.Digest(before.Count()) != before.Digest(before.Count()) {
			t.Fatal("readings have changed")
		}
		return
	}
	t.Fatal("no new reading within a minute")
}
