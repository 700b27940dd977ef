package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// A Step is one line of an update. Undo takes back what Do did, or half did.
type Step struct {
	Phase  Phase
	Name   string
	Do     func(context.Context, *Update) error
	Undo   func(context.Context, *Update) error
	Within time.Duration // for one attempt

	// The next two count in each direction.
	Tries   int // attempts if the error is passing
	Crashes int // how often the step may be begun again because the agent ended in it

	Cancel Cancellation // what a cancel does while the step runs
}

// A Cancellation says what a cancel does to a step that runs.
type Cancellation int

const (
	// atOnce interrupts the attempt: the step only prepares or waits, and its
	// Undo takes back what was half done.
	atOnce Cancellation = iota
	// between lets the attempt end first: an updater is changing the component,
	// and would go on with that while it is asked to change it back. There is
	// no other attempt.
	between
	// tooLate: the new version is committed.
	tooLate
)

func nothing(context.Context, *Update) error { return nil }

// tell announces where the update is. The runner alone does this.
func (e *Engine) tell(r *Record, steps []Step, at int, part float64) {
	e.Tell(r.progress(steps[at], (float64(at)+part)/float64(len(steps))))
}

// Progress is what is told of an update that has not gone on yet since it was cut off.
func (r Record) Progress() Progress {
	steps := (*Engine)(nil).steps()
	at := slices.IndexFunc(steps, func(s Step) bool { return s.Name == r.Step })
	if at < 0 {
		return r.progress(Step{Name: r.Step}, 0) // a step of a newer agent
	}
	return r.progress(steps[at], float64(at)/float64(len(steps)))
}

// Stopped says that the update has stopped the component, or may have: only
// the update may start it.
func (r Record) Stopped() bool {
	for _, s := range (*Engine)(nil).steps() {
		if s.Name == r.Step {
			return s.Phase == Execution || s.Phase == Transformation
		}
	}
	return true // a step of a newer agent: it may be any
}

// Startable says that the component may be started where the update was cut
// off, although the update does not go on yet: it starts with the state that
// it had or has got, and when the update goes on nothing is lost of what it
// writes until then.
func (r Record) Startable() bool {
	switch {
	case !r.Stopped():
		return true
	case r.Back:
		return r.Step == "quiesce" || r.Step == "stop"
	}
	return slices.Contains([]string{"quiesce", "stop", pointOfNoReturn, "report", "clean"}, r.Step)
}

func phaseOf(steps []Step, name string) Phase {
	return steps[slices.IndexFunc(steps, func(s Step) bool { return s.Name == name })].Phase
}

// pause is how long to wait before the next try: what the step asks for, or
// 0.2 s doubled each time.
func (e *Engine) pause(err error, try int) time.Duration {
	var r Retry
	if errors.As(err, &r) && r.After > 0 {
		return r.After
	}
	return min(cmp.Or(e.firstPause, 100*time.Millisecond)<<try, time.Minute)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
