package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestOutcomesOfDaysApart cuts the device off from the bridge, and has it
// update itself by its schedule, again and again; the agent is killed between,
// and then the backend. When the network is back, every outcome reaches the twin, in order.
func TestOutcomesOfDaysApart(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0")
	relay, err := rig.NewRelay(s.Bridge())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(relay.Close)
	s.Via = relay.Addr()
	s.Agent.Stop()
	restart(t, s)
	if err := s.Wish(t.Context(), rig.SensorAdapter, `{"version": null, "check": "* * * * * *"}`); err != nil {
		t.Fatal(err)
	}
	put(t, s, "2.0.0")
	_, err = s.Await(t.Context(), "the schedule is known", rig.UpdateTime, func(r rig.Reported) bool {
		c := r.Components[rig.SensorAdapter]
		return c.Version == "2.0.0" && c.Update.Result == "updated"
	})
	if err != nil {
		t.Fatal(err)
	}
	relay.Cut(true)
	want := []string{"1.0.0 updated", "2.0.0 updated"}
	for _, version := range []string{"2.1.0", "2.2.0"} {
		publish(t, s, rig.Replace("2.0.0", version))
		awaitRunning(t, s, version)
		want = append(want, version+" updated")
	}
	s.Agent.Kill()
	restart(t, s)
	put(t, s, "3.0.0") // is never healthy
	want = append(want, "3.0.0 turned back")
	awaitLog(t, s, `result="turned back"`)
	s.Backend.Kill()
	if err := s.StartBackend(t.Context()); err != nil {
		t.Fatal(err)
	}
	relay.Cut(false)
	_, err = s.Await(t.Context(), "the last outcome", rig.UpdateTime, func(r rig.Reported) bool {
		return r.Components[rig.SensorAdapter].Outcome.To == "3.0.0"
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.CLI(t.Context(), "history", s.Device)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d outcomes, want %d:\n%s", len(lines), len(want), out)
	}
	for i, line := range lines {
		version, result, _ := strings.Cut(want[i], " ")
		if !strings.Contains(line, fmt.Sprintf(" to %s: %s", version, result)) {
			t.Errorf("outcome %d is %q, want %s", i, line, want[i])
		}
	}
}

// awaitRunning waits for a version of the component, which runs.
func awaitRunning(t *testing.T, s *rig.System, version string) {
	t.Helper()
	eventually(t, version+" runs", func() bool {
		running := s.Components(rig.SensorAdapter)
		return len(running) == 1 && running[0].Version == version
	})
}

func awaitLog(t *testing.T, s *rig.System, text string) {
	t.Helper()
	eventually(t, "the agent says "+text, func() bool { return strings.Contains(rig.Tail(s.Agent.Log, 50), text) })
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(rig.UpdateTime); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
