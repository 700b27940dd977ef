package manager

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// nothing is a journal without an update.
func nothing(string) (r engine.Record, open bool, err error) { return r, false, nil }

// TestCutOff: an update that was cut off is told of from the first moment on, also before it goes on.
func TestCutOff(t *testing.T) {
	cut := engine.Record{Step: "transform", Update: engine.Update{
		ID: "u1", Component: name, To: engine.Installed{Version: "2.0.0"}, Until: time.Now().Add(time.Minute), Halted: []string{"application/reader"},
	}}
	m := New(Config{
		Components: []string{name}, Memory: new(memory), Repaired: new(memory), Fault: func() string { return "" },
		Journal: func(string) (engine.Record, bool, error) { return cut, true, nil },
	})
	v, err := m.View(name)
	if err != nil || v.Progress == nil {
		t.Fatalf("%+v, %v", v, err)
	}
	got := *v.Progress
	got.Until, got.Fraction = time.Time{}, 0
	want := engine.Progress{Update: "u1", Component: name, To: "2.0.0", Phase: engine.Transformation, Step: "transform", Stale: true, Stopped: []string{"application/reader"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if f := v.Progress.Fraction; f <= 0 || f >= 1 {
		t.Errorf("it is %v done", f)
	}
	cut.Step = "of a newer agent"
	if p := cut.Progress(); p.Step != cut.Step || p.Fraction != 0 {
		t.Errorf("%+v", p)
	}
}
