package engine

import (
	"maps"
	"slices"
	"time"
)

// A Timing is what one update of a component has taken: the history from which
// the downtime of the next is predicted.
type Timing struct {
	Update    string                   `json:"update"`
	Took      map[string]time.Duration `json:"took"`                // by step
	Rehearsed time.Duration            `json:"rehearsed,omitempty"` // what the rehearsal said of transform
	Downtime  time.Duration            `json:"downtime"`
	Predicted time.Duration            `json:"predicted"`
}

// downSteps are the steps during which a component is away. What else the
// downtime holds (the journal, a step that was begun anew) is predicted as a
// whole.
var downSteps = []string{"quiesce", "stop", "save", "rewrite", "apply", "start"}

// predict says how long a component will be away, from what the rehearsal has
// found and from its last updates on this device: for each step the median,
// and for the transform what was rehearsed, corrected by how wrong that was
// before. Without history it is the rehearsal and restartTime.
func predict(rehearsed time.Duration, past []Timing) time.Duration {
	if len(past) == 0 {
		return rehearsed + restartTime
	}
	total := rehearsed
	if n := corrected(rehearsed, past); n >= 0 {
		total = n
	}
	for _, step := range downSteps {
		total += median(past, func(t Timing) (time.Duration, bool) { return t.Took[step], true })
	}
	return total + median(past, func(t Timing) (time.Duration, bool) { return t.rest(), true })
}

// restartTime is what a prediction without history allows for stopping and
// starting.
const restartTime = time.Second

// rest is the part of the downtime that no step accounts for.
func (t Timing) rest() time.Duration {
	left := t.Downtime - t.Took["transform"]
	for _, step := range downSteps {
		left -= t.Took[step]
	}
	return max(left, 0)
}

// corrected is how long the transform takes; negative if the past does not
// tell. A component that could not be rehearsed takes what it took.
func corrected(rehearsed time.Duration, past []Timing) time.Duration {
	return median(past, func(t Timing) (time.Duration, bool) {
		switch took := t.Took["transform"]; {
		case rehearsed == 0:
			return took, t.Rehearsed == 0
		case t.Rehearsed <= 0:
			return 0, false
		default:
			ratio := min(max(float64(took)/float64(t.Rehearsed), 0.1), 10)
			return time.Duration(float64(rehearsed) * ratio), true
		}
	})
}

// median of what f says of the past, -1 if it says nothing.
func median(past []Timing, f func(Timing) (time.Duration, bool)) time.Duration {
	var all []time.Duration
	for _, t := range past {
		if d, ok := f(t); ok {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		return -1
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// took notes how long a step took on the way forward; all attempts count.
func (u *Update) took(step string, d time.Duration) {
	took := maps.Clone(u.Took) // a record that was journaled stays as it is
	if took == nil {
		took = map[string]time.Duration{}
	}
	took[step] += d
	u.Took = took
}

// timing is what the next prediction learns from u; false if the component was
// not away.
func (u *Update) timing() (Timing, bool) {
	t := Timing{Update: u.ID, Took: map[string]time.Duration{}, Rehearsed: u.Expected, Downtime: u.Downtime, Predicted: u.Predicted}
	for _, step := range append(downSteps, "transform") {
		t.Took[step] = u.Took[step]
	}
	return t, u.Downtime > 0
}
