// Package engine carries one component through one update, step by step, and
// finishes what it began even if the power fails at any moment.
//
// The whole update is the list that [Engine.steps] returns: read it from top
// to bottom and you know what the device does. Before a step is done or
// undone the runner writes one [Record] to the journal; after a restart
// [Engine.Run] reads it and goes on from there. So a step may run twice, or be
// undone after doing only half of its work: every Do and every Undo is
// idempotent. What the steps do in detail is in steps.go; no step decides
// which one comes next.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Phase is what the twin tells people.
type Phase string

// The phases, in order.
const (
	Request        Phase = "request"
	Preparation    Phase = "preparation"
	Execution      Phase = "execution"
	Transformation Phase = "transformation"
)

// steps is an update. A step that fails is undone, and then all before it, in
// reverse; from pointOfNoReturn on there is only forward.
func (e *Engine) steps() []Step {
	return []Step{
		// phase        name         do           undo          within             tries
		{Request, "resolve", e.resolve, nothing, 2 * time.Minute, 3},        // which package; may it be installed here
		{Preparation, "download", e.download, e.discard, 24 * time.Hour, 5}, // its blobs, into the content store
		{Preparation, "verify", e.verify, nothing, time.Hour, 1},            // digests, space
		{Preparation, "stage", e.stage, e.unstage, time.Hour, 3},            // the new version, beside the running one
		{Preparation, "rehearse", e.rehearse, e.forget, 6 * time.Hour, 3},   // transform a live snapshot; predict the downtime
		{Preparation, "announce", e.announce, e.retract, time.Minute, 3},    // unavailable until …; data is stale
		{Execution, "quiesce", e.quiesce, e.resume, time.Minute, 3},         // end open work, start no more
		{Execution, "stop", e.stop, e.startOld, 5 * time.Minute, 3},         // the downtime begins here at the latest
		{Execution, "save", e.save, e.unsave, time.Hour, 3},                 // the state, untouched
		{Execution, "rewrite", e.rewrite, e.rewriteBack, 30 * time.Minute, 3},
		{Transformation, "transform", e.transform, e.dropNew, 6 * time.Hour, 2}, // saved state → new state, never in place
		{Transformation, "apply", e.apply, e.applyOld, time.Hour, 3},            // hand over the new state, or the saved one
		{Transformation, "start", e.start, e.stopNew, 5 * time.Minute, 3},
		{Transformation, "probe", e.probe, nothing, time.Hour, 2}, // healthy, and stays so
		{Transformation, pointOfNoReturn, e.commit, nothing, time.Minute, 5},
		{Transformation, "report", e.report, nothing, time.Minute, 5}, // into the outbox, until acknowledged
		{Transformation, "clean", e.clean, nothing, time.Hour, 2},     // remove what is no longer needed
	}
}

// pointOfNoReturn names the first step that is never undone.
const pointOfNoReturn = "commit"

// A Step is one line of an update. Undo takes back what Do did, or half did.
type Step struct {
	Phase  Phase
	Name   string
	Do     func(context.Context, *Update) error
	Undo   func(context.Context, *Update) error
	Within time.Duration // for one attempt
	Tries  int           // attempts in each direction if the error is passing
}

func nothing(context.Context, *Update) error { return nil }

// A Record is the journal: all that survives a crash. It names its step, and
// does not number it, so that an agent that has just updated itself still
// understands the journal of its predecessor.
//
//	Back   Step   meaning
//	false  s      s is about to run, is running, or has run
//	true   s      s is about to be undone, is being undone, or has been undone
//
// No record means that no update of the component is in progress.
type Record struct {
	Format int    `json:"format"` // RecordFormat
	Update Update `json:"update"`
	Step   string `json:"step"`
	Back   bool   `json:"back,omitempty"`
	Begun  int    `json:"begun"`            // how often the step was begun in this direction
	Failed string `json:"failed,omitempty"` // the step that turned the update back
	Cause  string `json:"cause,omitempty"`  // and why
}

// RecordFormat is raised when an older agent must not go on from a record.
// New fields alone do not raise it: an older agent ignores them.
const RecordFormat = 1

// A Journal keeps one Record per component. Save and End are durable when
// they return; End removes the record and keeps the outcome, as one.
type Journal interface {
	Load(component string) (Record, bool, error)
	Save(Record) error
	End(Record, Outcome) error
}

// maxBegun bounds how often a step is begun again after crashes: one that
// takes the device down each time counts as failed.
const maxBegun = 5

// Run performs u or, if the journal holds an unfinished update of the same
// component, finishes that one instead; an update without ID only asks for
// that. It returns an error only if the
// update has not ended: because ctx did, because of a [Wait], or because the
// journal fails. Call it again to go on.
func (e *Engine) Run(ctx context.Context, u Update) (Outcome, error) {
	return e.run(ctx, e.steps(), u)
}

// run is Run for any list of steps.
func (e *Engine) run(ctx context.Context, steps []Step, u Update) (Outcome, error) {
	r, found, err := e.Journal.Load(u.Component)
	if err != nil {
		return Outcome{}, fmt.Errorf("cannot load journal: %w", err)
	}
	if !found && u.ID == "" {
		return Outcome{}, nil
	}
	if r.Format > RecordFormat {
		return Outcome{}, fmt.Errorf("cannot read journal of format %d, only up to %d: %w", r.Format, RecordFormat, ErrNewer)
	}
	if !found {
		r = Record{Format: RecordFormat, Update: u, Step: steps[0].Name}
	}
	at := slices.IndexFunc(steps, func(s Step) bool { return s.Name == r.Step })
	if at < 0 {
		return Outcome{}, fmt.Errorf("cannot go on at unknown step %q: %w", r.Step, ErrNewer)
	}
	if found {
		e.Log.Info("update goes on", "update", r.Update.ID, "component", u.Component, "step", r.Step, "back", r.Back)
	}
	last := slices.IndexFunc(steps, func(s Step) bool { return s.Name == pointOfNoReturn })
	work, close, end := e.cancellable(ctx, u.Component)
	defer end()
	for ; !r.Back && at < len(steps); at++ {
		if at == last {
			close(ErrTooLate)
		}
		err := e.attempt(work, &r, steps, at)
		cancelled := work.Err() != nil && ctx.Err() == nil
		switch {
		case err == nil && !cancelled:
			continue
		case stopped(ctx, err):
			return Outcome{}, err
		case cancelled:
			err = context.Cause(work)
		case at >= last:
			return e.end(r, Inconsistent, fmt.Errorf("cannot %s: %w; the new version runs: ask for it again", r.Step, err))
		}
		r.Back, r.Begun, r.Failed, r.Cause = true, 0, r.Step, err.Error()
		e.Log.Warn("update turns back", "update", r.Update.ID, "component", u.Component, "step", r.Step, "cause", err)
		break // the step that failed is the first to be undone
	}
	close(ErrGoesBack)
	for ; r.Back && at >= 0; at-- {
		err := e.attempt(ctx, &r, steps, at)
		if stopped(ctx, err) {
			return Outcome{}, err
		}
		if err != nil {
			return e.end(r, Inconsistent, fmt.Errorf("cannot undo %s: %w; first failure: %s; repair the device and ask for a version again", r.Step, err, r.Cause))
		}
	}
	switch {
	case !r.Back:
		return e.end(r, Updated, nil)
	case phaseOf(steps, r.Failed) == Request || phaseOf(steps, r.Failed) == Preparation:
		return e.end(r, Refused, fmt.Errorf("cannot %s: %s", r.Failed, r.Cause))
	}
	return e.end(r, TurnedBack, fmt.Errorf("cannot %s: %s", r.Failed, r.Cause))
}

// attempt does or undoes one step, again while the error is passing.
func (e *Engine) attempt(ctx context.Context, r *Record, steps []Step, at int) error {
	s := steps[at]
	if r.Step != s.Name {
		r.Step, r.Begun = s.Name, 0
	}
	for try := 1; ; try++ {
		if r.Begun++; r.Begun > maxBegun+s.Tries {
			return fmt.Errorf("the agent ended %d times during this step", r.Begun-1)
		}
		if err := e.Journal.Save(*r); err != nil {
			return Wait{"a journal that can be written: " + err.Error()}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e.tell(r, steps, at, 0)
		err := e.once(ctx, r, steps, at)
		var wait Wait
		if err == nil || ctx.Err() != nil || errors.As(err, &wait) || try >= s.Tries || !passing(err) {
			return err
		}
		e.Log.Warn("step will be tried again", "update", r.Update.ID, "step", s.Name, "back", r.Back, "try", try, "cause", err)
		if err := sleep(ctx, e.pause(err, try)); err != nil {
			return err
		}
	}
}

// once runs one attempt within the step's deadline.
func (e *Engine) once(ctx context.Context, r *Record, steps []Step, at int) error {
	s := steps[at]
	run := s.Do
	if r.Back {
		run = s.Undo
	}
	limited, done := within(ctx, s.Within)
	defer done()
	limited = withProgress(limited, func(f float64) { e.tell(r, steps, at, f) })
	begin := time.Now()
	err := run(limited, &r.Update)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", context.Cause(limited), err)
	}
	e.Log.Info("step", "update", r.Update.ID, "component", r.Update.Component, "step", s.Name,
		"back", r.Back, "took", time.Since(begin).Round(time.Millisecond), "error", err)
	return err
}

// tell announces where the update is. The runner alone does this.
func (e *Engine) tell(r *Record, steps []Step, at int, part float64) {
	e.Tell(r.progress(steps[at], (float64(at)+part)/float64(len(steps))))
}

// end writes down how the update ended; only then is it over.
func (e *Engine) end(r Record, result string, cause error) (Outcome, error) {
	u := r.Update
	o := u.outcome(result)
	o.Step = r.Failed
	if cause != nil {
		o.Cause = cause.Error()
	}
	if err := e.Journal.End(r, o); err != nil {
		return Outcome{}, fmt.Errorf("cannot end journal: %w", err)
	}
	e.Log.Info("update ended", "update", u.ID, "component", u.Component,
		"from", o.From, "to", o.To, "result", result, "downtime", o.Downtime, "cause", o.Cause)
	return o, nil
}

// stopped reports whether err means that the update goes on at the next Run.
func stopped(ctx context.Context, err error) bool {
	var wait Wait
	return err != nil && (ctx.Err() != nil || errors.As(err, &wait))
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
