package engine

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// past is an update that took a second for each step and for the rest, and
// twice as long for its transform as rehearsed.
func past(second time.Duration) Timing {
	t := Timing{Took: map[string]time.Duration{"transform": 2 * second}, Rehearsed: second, Downtime: 2*second + second}
	for _, step := range downSteps {
		t.Took[step] = second
		t.Downtime += second
	}
	return t
}

func TestPredict(t *testing.T) {
	steps := time.Duration(len(downSteps))
	unrehearsed := past(time.Second)
	unrehearsed.Rehearsed = 0
	for name, test := range map[string]struct {
		rehearsed time.Duration
		past      []Timing
		want      time.Duration
	}{
		"no history":             {3 * time.Second, nil, 4 * time.Second},
		"nothing to transform":   {0, nil, time.Second},
		"as last time":           {3 * time.Second, []Timing{past(time.Second)}, 6*time.Second + (steps+1)*time.Second},
		"one was much slower":    {time.Second, []Timing{past(time.Second), past(time.Hour), past(time.Second)}, (2 + steps + 1) * time.Second},
		"cannot be rehearsed":    {0, []Timing{unrehearsed}, (2 + steps + 1) * time.Second},
		"is rehearsed now only":  {time.Second, []Timing{unrehearsed}, (1 + steps + 1) * time.Second},
		"no transform this time": {0, []Timing{past(time.Second)}, (steps + 1) * time.Second},
	} {
		if got := predict(test.rehearsed, test.past); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// TestPredictionLearns: on a device ten times as slow as rehearsed, and as
// irregular as devices are, the prediction is right within a fifth after three
// updates.
func TestPredictionLearns(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	about := func(d time.Duration) time.Duration {
		return time.Duration(float64(d) * (0.95 + random.Float64()/10))
	}
	var history []Timing
	for n := range 10 {
		rehearsed := about(time.Second)
		took := Timing{Took: map[string]time.Duration{"transform": about(10 * rehearsed)}, Rehearsed: rehearsed}
		took.Downtime = took.Took["transform"] + about(2*time.Second)
		for _, step := range downSteps {
			took.Took[step] = about(time.Second)
			took.Downtime += took.Took[step]
		}
		took.Predicted = predict(rehearsed, history)
		history = append(history, took)
		off := (took.Downtime - took.Predicted).Abs()
		if n >= 3 && off > took.Downtime/5 {
			t.Errorf("update %d was away for %s, predicted were %s", n, took.Downtime, took.Predicted)
		}
	}
}

// TestTooLongADowntime: what the package does not allow is refused before
// anything stops, because of what this device has taken before.
func TestTooLongADowntime(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	w.budget, w.timings = -1, []Timing{past(20 * time.Minute)}
	o, err := w.update(t, e, "2.0.0")
	if err != nil || o.Result != Refused || !strings.Contains(o.Cause, "more than the 1h0m0s that the package allows") || w.running != "1.0.0" || o.Downtime != 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	w.check(t, o)
	w.timings = nil
	if o, err = w.update(t, e, "2.0.0"); err != nil || o.Result != Updated {
		t.Fatalf("%+v, %v", o, err)
	}
	if got := w.timings; len(got) != 1 || got[0].Downtime != o.Downtime || got[0].Predicted != o.Predicted || got[0].Took["stop"] <= 0 || got[0].Took["clean"] != 0 {
		t.Errorf("%+v after %+v", got, o)
	}
}
