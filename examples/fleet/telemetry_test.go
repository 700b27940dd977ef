package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// TestTelemetry: applications get each reading of a component once and in order, over
// updates there and back, while the agent is killed in the first and the backend in
// the second. What they should get is what the component has in its own history.
func TestTelemetry(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	for _, move := range []struct {
		version, step string
		strike        func()
	}{
		{"2.0.0", "transform", func() { s.Agent.Kill(); restart(t, s) }},
		{"1.0.0", "save", func() {
			s.Backend.Kill()
			if err := s.StartBackend(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		last, l := lastUpdate(t, s), traceFrom(s.Agent.Log)
		if err := s.Wish(t.Context(), rig.SensorAdapter, fmt.Sprintf(`{"version": %q}`, move.version)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the update reaches "+move.step, func() bool {
			steps, ended := l.read()
			return ended || slices.ContainsFunc(steps, func(d done) bool { return d.step == move.step })
		})
		move.strike()
		if c, err := s.Ended(t.Context(), last); err != nil || c.Update.Result != "updated" {
			t.Fatalf("%+v, %v", c, err)
		}
		_, err := s.Await(t.Context(), move.version+" runs", rig.UpdateTime, func(r rig.Reported) bool {
			c := r.Components[rig.SensorAdapter]
			return c.Version == move.version && c.Running && !c.Stale
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	compare(t, s)
}

// A sample is a reading as an application gets it.
type sample struct {
	Time   time.Time
	Values map[string]float64
}

// samples are the messages of the component so far, from the first on. They end with
// the one of a time, or after some minutes.
func samples(t *testing.T, s *rig.System, until time.Time) (all []sample) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.UpdateTime)
	defer cancel()
	for e, err := range s.Hub.Events(ctx, s.Device, "0") {
		var body iothub.Telemetry
		switch {
		case err != nil:
			t.Errorf("the last reading does not come: %v", err)
			return all
		case e.Type != iothub.EventTelemetry:
			continue
		}
		var one sample
		if err := json.Unmarshal(e.Body, &body); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(body.Payload, &one); err != nil {
			t.Fatal(err)
		}
		if body.Properties["component"] != rig.SensorAdapter {
			t.Errorf("a message of %q", body.Properties["component"])
		}
		if all = append(all, one); one.Time.Equal(until) {
			return all
		}
	}
	return all
}

// seeded are the readings that the adapter begins with and has never published.
const seeded = 4000

// compare holds what applications have got against the component's history.
func compare(t *testing.T, s *rig.System) {
	t.Helper()
	_, report := check(t, s)
	history := report.Readings[seeded:]
	got := samples(t, s, time.UnixMilli(history[len(history)-1].Time))
	for i, r := range history {
		if i >= len(got) {
			t.Fatalf("%d of %d readings have come", len(got), len(history))
		}
		value, at := got[i].Values["/3303/0/5700"], time.UnixMilli(r.Time)
		off := math.Abs(value - r.Celsius.Float())
		if !got[i].Time.Equal(at) || off > 0.001 && math.Abs(off-273.15) > 0.001 {
			t.Fatalf("message %d of %d is %v of %v, where reading %d is %s of %v",
				i+1, len(got), value, got[i].Time, seeded+i+1, r.Celsius, at.UTC())
		}
	}
	if len(got) != len(history) {
		t.Errorf("%d messages of %d readings", len(got), len(history))
	}
	t.Logf("%d readings, each once and in order", len(got))
}
