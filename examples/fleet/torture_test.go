package fleet

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

// TestTorture kills the agent at random moments of updates there and back, and
// of updates that turn back: at TRANQUIL_TORTURE moments, or at a few. Whatever
// the moment, the old or the new version runs in the end, and the sequence is
// unbroken.
func TestTorture(t *testing.T) {
	t.Parallel()
	kills := 3
	if n, err := strconv.Atoi(os.Getenv("TRANQUIL_TORTURE")); err == nil {
		kills = n
	}
	s := start(t, "1.0.0", "2.0.0", "3.0.0")
	length := typical(t, s)
	t.Logf("an update takes %s", length)
	ends := map[string]int{}
	for n := range kills {
		c := wishAndKill(t, s, n, length)
		ends[c.Update.Result]++
	}
	t.Logf("ends: %v", ends)
}

// wishAndKill is one kill, and all that must hold after it.
func wishAndKill(t *testing.T, s *rig.System, n int, length time.Duration) rig.Component {
	t.Helper()
	before, history := check(t, s)
	wanted, result := next(before.Version)
	last := lastUpdate(t, s)
	wish := fmt.Sprintf(`{"version": %q, "attempt": %d}`, wanted, n+1)
	if err := s.Wish(t.Context(), rig.SensorAdapter, wish); err != nil {
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
	t.Logf("kill %d after %s to %s: %s, %s runs, downtime %.2f s", n+1, moment.Round(time.Millisecond), wanted, c.Update.Result, c.Version, c.Update.Downtime)
	if c.Update.Result != result || c.Version != map[string]string{"updated": wanted, "turned back": before.Version}[result] {
		t.Fatalf("expected %s: %+v", result, c)
	}
	unbroken(t, s, c.Version, history)
	return c
}

// next chooses what to wish for, and says how that must end: to be killed is
// no reason to turn back.
func next(version string) (wanted, result string) {
	switch {
	case version == "1.0.0":
		return "2.0.0", "updated"
	case rand.N(2) == 0:
		return "3.0.0", "turned back" // is never healthy
	}
	return "1.0.0", "updated"
}

// typical measures how long an update takes, there and back.
func typical(t *testing.T, s *rig.System) time.Duration {
	begin := time.Now()
	update(t, s, "2.0.0")
	update(t, s, "1.0.0")
	return time.Since(begin) / 2
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
