package fleet

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// TestDependants updates a component that two others depend on: one that its
// package has stopped meanwhile, and a program that is told.
func TestDependants(t *testing.T) {
	t.Parallel()
	s := startWith(t, []rig.Edit{rig.Replace(`components = [`, `components = ["`+rig.Reader+`", `)}, "1.0.0", "2.0.0", "3.0.0")
	if err := s.PublishReader(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Wish(t.Context(), rig.Reader, `{"version": "1.0.0"}`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Await(t.Context(), "the reader runs", rig.UpdateTime, func(r rig.Reported) bool {
		c := r.Components[rig.Reader]
		return c.Running && c.Update.Result == "updated"
	}); err != nil {
		t.Fatal(err)
	}
	told, err := s.StartReader("-name", "console")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the console is told", func() bool { return len(notices(t, told.Log)) > 0 })
	before := theReader(t, s)
	update(t, s, "2.0.0")
	eventually(t, "the console is told", func() bool { return len(notices(t, told.Log)) > 2 })
	all := notices(t, told.Log)
	if all[0].State != component.Live || all[1].State != component.Leaving || all[1].UnavailableUntil.IsZero() || all[1].To != "2.0.0" || all[2].State != component.Live || all[2].Version != "2.0.0" {
		t.Errorf("told %+v", all)
	}
	adapter, history := check(t, s)
	if after := theReader(t, s); after.Started == before.Started || after.Started < adapter.Started {
		t.Errorf("the reader ran on, or came back too early: %+v became %+v; the adapter is %+v", before, after, adapter)
	}
	r, err := s.Await(t.Context(), "how it came to rest", time.Minute, func(r rig.Reported) bool {
		return r.Components[rig.SensorAdapter].Outcome.Rest != ""
	})
	if o := r.Components[rig.SensorAdapter].Outcome; err != nil || o.Rest != "tranquil" || o.Predicted <= 0 || o.PredictionError == 0 || o.Stopped != rig.Reader || r.Components[rig.SensorAdapter].Dependants[rig.Reader] != "stop" {
		t.Errorf("%+v, %v", o, err)
	}
	before = theReader(t, s)
	if c, err := s.Ask(t.Context(), `{"version": "3.0.0"}`); err != nil || c.Update.Result != "turned back" { // is never healthy
		t.Fatalf("%+v, %v", c, err)
	}
	if after := theReader(t, s); after.Started == before.Started {
		t.Errorf("the reader ran on: %+v", after)
	}
	crash(t, s)
	unbroken(t, s, "1.0.0", history)
	theReader(t, s)
}

// crash kills the agent while the component and its dependant are stopped.
func crash(t *testing.T, s *rig.System) {
	t.Helper()
	last := lastUpdate(t, s)
	if err := s.Wish(t.Context(), rig.SensorAdapter, `{"version": "1.0.0"}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reader is stopped", func() bool { return len(s.Components(rig.Reader)) == 0 })
	s.Agent.Kill()
	restart(t, s)
	if c, err := s.Ended(t.Context(), last); err != nil || c.Update.Result != "updated" {
		t.Fatalf("%+v, %v", c, err)
	}
}

// theReader waits for the one process of the reader.
func theReader(t *testing.T, s *rig.System) (r rig.Running) {
	t.Helper()
	eventually(t, "the reader runs", func() bool {
		running := s.Components(rig.Reader)
		if len(running) == 1 {
			r = running[0]
		}
		return len(running) == 1
	})
	return r
}

// notices reads what a reader has printed.
func notices(t *testing.T, path string) (all []component.Notice) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var n component.Notice
		if json.Unmarshal([]byte(line), &n) == nil {
			all = append(all, n)
		}
	}
	return all
}

// TestDeferral has a dependant delay an update by ten minutes, of which the
// configuration allows some seconds: the twin says what the update waits for,
// also after the agent was killed; then it goes on.
func TestDeferral(t *testing.T) {
	t.Parallel()
	const most = 8 * time.Second
	s := startWith(t, []rig.Edit{func(config string) string {
		return config + "\n[[dependant]]\ncomponent = \"application/gauge\"\nof = \"" + rig.SensorAdapter + "\"\npolicy = \"defer\"\nmaxDelay = \"" + most.String() + "\"\n"
	}}, "1.0.0", "2.0.0")
	gauge, err := s.StartReader("-name", "application/gauge", "-policy", "defer", "-delay", "10m")
	if err != nil {
		t.Fatal(err)
	}
	last := lastUpdate(t, s)
	if err := s.Wish(t.Context(), rig.SensorAdapter, `{"version": "2.0.0"}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gauge is asked", func() bool {
		all := notices(t, gauge.Log)
		return len(all) > 0 && all[len(all)-1].State == component.Asking
	})
	asked := time.Now()
	if _, err := s.Await(t.Context(), "the update waits", time.Minute, func(r rig.Reported) bool {
		return strings.Contains(r.Components[rig.SensorAdapter].Update.WaitingFor, "application/gauge, which asked for a delay: a measurement is under way")
	}); err != nil {
		t.Fatal(err)
	}
	s.Agent.Kill()
	restart(t, s)
	c, err := s.Ended(t.Context(), last)
	if err != nil || c.Update.Result != "updated" {
		t.Fatalf("%+v, %v", c, err)
	}
	all := notices(t, gauge.Log)
	if waited := time.Since(asked); waited < most-time.Second || all[len(all)-1].Version != "2.0.0" {
		t.Errorf("waited %s, told %+v", waited, all)
	}
}

// TestLastReading: what a component has published last before it was stopped
// reaches the twin, though the next version publishes soon after.
func TestLastReading(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	update(t, s, "2.0.0")
	_, report := check(t, s)
	last, stop := int64(0), stopped(t, s)
	for _, r := range report.Readings {
		if r.Time <= stop {
			last = r.Time
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), rig.UpdateTime)
	defer cancel()
	var seen []int64 // in order: up to that one, or one that has overtaken it
	for event, err := range s.Hub.Events(ctx, s.Device, "0") {
		if err != nil {
			t.Fatalf("seen %v: %v", seen, err)
		}
		if at := readingTime(t, event); at > 0 {
			seen = append(seen, at)
			if at >= last {
				break
			}
		}
	}
	if !slices.Contains(seen, last) {
		t.Errorf("the last reading before the stop, of %d, is not among those in the twin: %v; stopped at %d", last, seen, stop)
	}
}

// stopped is when the agent had stopped the component last, in milliseconds
// since 1970.
func stopped(t *testing.T, s *rig.System) int64 {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(s.Dir, "agent.log"))
	if err != nil {
		t.Fatal(err)
	}
	stops := regexp.MustCompile(`(?m)^time=(\S+) .* step=stop back=false`).FindAllSubmatch(log, -1)
	if len(stops) == 0 {
		t.Fatal("the agent stopped nothing")
	}
	at, err := time.Parse(time.RFC3339Nano, string(stops[len(stops)-1][1]))
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

// readingTime is when the reading in an event was taken, in milliseconds since
// 1970; 0 if there is none.
func readingTime(t *testing.T, event iothub.Event) int64 {
	t.Helper()
	var change iothub.TwinChange
	if event.Type != iothub.EventTwinChanged {
		return 0
	}
	if err := json.Unmarshal(event.Body, &change); err != nil {
		t.Fatal(err)
	}
	r, err := rig.Decode(change.Properties.Reported)
	if err != nil {
		t.Fatal(err)
	}
	ts, err := time.Parse(time.RFC3339Nano, r.LwM2M["3303"]["0"]["5700"].TS)
	if err != nil {
		return 0
	}
	return ts.UnixMilli()
}
