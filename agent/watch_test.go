package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/trust"
	"github.com/tranquil-iot/tranquil/sdk/trust/trusttest"
)

// TestWatchTrust: a device tells of trouble with signatures before an update runs into
// it, once, and also that it is over.
func TestWatchTrust(t *testing.T) {
	w := trusttest.New(t)
	a := trusting(t, w, w.Clock())
	var newest int64
	for _, step := range []struct {
		name   string
		change func()
		want   string // of the trouble; "" none
	}{
		{"all is well", func() {}, ""},
		{"nobody can be asked", w.Silence, "cannot be fetched"},
		{"they can again", w.Behave, ""},
		{"the file server stands still", func() { w.Now = w.Now.Add(trust.TimestampGood + time.Hour) }, "expired"},
		{"it goes on", w.Refresh, ""},
	} {
		step.change()
		if !a.lookAtTrust(t.Context(), trusttest.Greeter) {
			t.Errorf("%s: it is no news", step.name)
		}
		got := a.trustOf(trusttest.Greeter)
		if !strings.Contains(got.Trouble, step.want) || (got.Trouble == "") != (step.want == "") {
			t.Errorf("%s: %q", step.name, got.Trouble)
		}
		if got.Timestamp < newest || got.Timestamp == 0 {
			t.Errorf("%s: timestamp %d after %d", step.name, got.Timestamp, newest)
		}
		newest = got.Timestamp
		if again := a.lookAtTrust(t.Context(), trusttest.Greeter); again {
			t.Errorf("%s: it is told twice", step.name)
		}
	}
	w.Silence()
	if _, err := a.vouch(t.Context(), engine.Update{Component: trusttest.Greeter}, greeter(w.Good, 1)); err != nil || a.trustOf(trusttest.Greeter).Trouble == "" {
		t.Errorf("an update has noticed nothing: %v", err)
	}
	if a := (&agent{}); a.lookAtTrust(t.Context(), trusttest.Greeter) || a.trustOf(trusttest.Greeter) != (engine.Trust{}) {
		t.Error("a device without a root tells of signatures")
	}
}
