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
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
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
		// phase        name         do           undo          within     tries crashes cancel
		{Request, "resolve", e.resolve, nothing, 2 * time.Minute, 3, 5, atOnce},         // which package; may it be installed here
		{Preparation, "download", e.download, e.discard, 24 * time.Hour, 5, 50, atOnce}, // its blobs, into the content store
		{Preparation, "verify", e.verify, nothing, time.Hour, 1, 5, atOnce},             // digests, space
		{Preparation, "stage", e.stage, e.unstage, time.Hour, 3, 5, atOnce},             // the new version, beside the running one
		{Preparation, "rehearse", e.rehearse, e.forget, 6 * time.Hour, 3, 5, atOnce},    // transform a live snapshot; predict the downtime
		{Preparation, "admit", e.admit, nothing, 6 * time.Hour, 3, 5, atOnce},           // wait until the component may be disturbed
		{Preparation, "announce", e.announce, e.retract, time.Minute, 3, 5, atOnce},     // unavailable until …; data is stale
		{Execution, "quiesce", e.quiesce, e.resume, time.Minute, 3, 5, atOnce},          // end open work, start no more
		{Execution, "stop", e.stop, e.startOld, 5 * time.Minute, 3, 5, between},         // the downtime begins here at the latest
		{Execution, "save", e.save, e.unsave, time.Hour, 3, 5, between},                 // the state, untouched
		{Execution, "rewrite", e.rewrite, e.rewriteBack, 30 * time.Minute, 3, 3, between},
		{Transformation, "transform", e.transform, e.dropNew, 6 * time.Hour, 2, 5, atOnce}, // saved state → new state, never in place
		{Transformation, "apply", e.apply, e.applyOld, time.Hour, 3, 3, between},           // hand over the new state, or the saved one
		{Transformation, "start", e.start, e.stopNew, 5 * time.Minute, 3, 3, between},
		{Transformation, "probe", e.probe, nothing, time.Hour, 2, 3, atOnce}, // healthy, and stays so
		{Transformation, pointOfNoReturn, e.commit, nothing, time.Minute, 5, 5, tooLate},
		{Transformation, "report", e.report, nothing, time.Minute, 5, 5, tooLate},    // into the outbox, until acknowledged
		{Transformation, "clean", e.clean, nothing, 10 * time.Minute, 2, 5, tooLate}, // remove what is no longer needed
	}
}

// pointOfNoReturn names the first step that is never undone.
const pointOfNoReturn = "commit"

// Run performs u or, if the journal holds an unfinished update of the same
// component, finishes that one instead; an update without ID only asks for
// that. It returns an error only if the update has not ended: because ctx did,
// because of a [Wait], or because the journal fails. Call it again to go on.
func (e *Engine) Run(ctx context.Context, u Update) (Outcome, error) {
	return e.run(ctx, e.steps(), u)
}

// run is Run for any list of steps.
func (e *Engine) run(ctx context.Context, steps []Step, u Update) (Outcome, error) {
	work, close, end := e.cancellable(ctx, u.Component)
	defer end()
	r, found, err := e.Journal.Load(u.Component)
	if err != nil {
		return Outcome{}, fmt.Errorf("cannot load journal: %w", err)
	}
	if !found && u.ID == "" {
		return Outcome{}, nil
	}
	if !found {
		r = Record{Update: u, Step: steps[0].Name}
	}
	at, err := r.at(steps)
	if err != nil {
		return Outcome{}, err
	}
	if found {
		e.Log.Info("update goes on", "update", r.Update.ID, "component", u.Component, "step", r.Step, "back", r.Back)
	}
	if err := e.remember(r); err != nil { // no reason to stop here, but to end
		e.Log.Error("cannot note whose the live state is", "component", u.Component, "error", err)
	}
	if r.Cancelled != "" && !r.Back {
		e.turnBack(&r, errors.New(r.Cancelled))
	}
	if r.Waiting.needsReboot(e.boot(u.Component)) {
		return Outcome{}, e.wait(&r, steps, at, *r.Waiting)
	}
	last := slices.IndexFunc(steps, func(s Step) bool { return s.Name == pointOfNoReturn })
	if at >= last && !r.Back { // the new version may be the installed one already
		close(ErrTooLate)
		work = ctx
	}
	for ; !r.Back && at < len(steps); at++ {
		if at == last {
			close(ErrTooLate)
		}
		err := e.attempt(ctx, work, &r, steps, at)
		cancelled := work.Err() != nil && ctx.Err() == nil
		switch {
		case err == nil && !cancelled:
			continue
		case cancelled:
			err = context.Cause(work)
			r.Cancelled = err.Error()
		case stopped(ctx, err):
			return Outcome{}, err
		case errors.Is(err, ErrCancelled):
			r.Cancelled = err.Error()
		case at >= last:
			return e.end(r, Inconsistent, fmt.Errorf("cannot %s: %w; the new version runs: ask for it again", r.Step, err))
		}
		e.turnBack(&r, err)
		break // the step that failed is the first to be undone
	}
	close(ErrGoesBack)
	for ; r.Back && at >= 0; at-- {
		err := e.attempt(ctx, ctx, &r, steps, at)
		if stopped(ctx, err) {
			return Outcome{}, err
		}
		if err != nil {
			return e.end(r, Inconsistent, fmt.Errorf("cannot undo %s: %w; first failure: %s; repair the component (tranquil repair) and ask for a version again", r.Step, err, r.Cause))
		}
	}
	switch {
	case !r.Back:
		return e.end(r, r.Update.done(), nil)
	case phaseOf(steps, r.Failed) == Request || phaseOf(steps, r.Failed) == Preparation:
		return e.end(r, Refused, fmt.Errorf("cannot %s: %s", r.Failed, r.Cause))
	}
	return e.end(r, TurnedBack, fmt.Errorf("cannot %s: %s", r.Failed, r.Cause))
}

// turnBack notes why the update goes back; the next attempt journals it.
func (e *Engine) turnBack(r *Record, cause error) {
	r.Back, r.Begun, r.Failed, r.Cause, r.Waiting = true, 0, r.Step, cause.Error(), nil
	e.Log.Warn("update turns back", "update", r.Update.ID, "component", r.Update.Component, "step", r.Step, "cause", cause)
}

// attempt does or undoes one step, again while the error is passing. A cancel
// ends work; ctx ends with the process.
func (e *Engine) attempt(ctx, work context.Context, r *Record, steps []Step, at int) error {
	s := steps[at]
	if s.Cancel == atOnce {
		ctx = work
	}
	if r.Step != s.Name {
		r.Step, r.Begun = s.Name, 0
	}
	for try := 1; ; try++ {
		if r.Begun++; r.Begun > s.Crashes+s.Tries {
			return fmt.Errorf("the agent ended %d times during this step", r.Begun-1)
		}
		r.Waiting = nil
		r.Format = r.Update.format()
		if err := e.Journal.Save(*r); err != nil {
			return Wait{For: "a journal that can be written: " + err.Error()}
		}
		if work.Err() != nil {
			return context.Cause(work)
		}
		e.tell(r, steps, at, 0)
		err := e.once(ctx, r, steps, at)
		var wait Wait
		switch {
		case ctx.Err() == nil && errors.As(err, &wait):
			return e.wait(r, steps, at, wait)
		case err == nil || work.Err() != nil || try >= s.Tries || !passing(err):
			return err
		}
		e.Log.Warn("step will be tried again", "update", r.Update.ID, "step", s.Name, "back", r.Back, "try", try, "cause", err)
		if err := sleep(work, e.pause(err, try)); err != nil {
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
	limited = withProgress(limited, paced(func(f float64) { e.tell(r, steps, at, f) }))
	begin := time.Now()
	err := run(limited, &r.Update)
	if !r.Back {
		r.Update.took(s.Name, time.Since(begin))
	}
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", context.Cause(limited), err)
	}
	if errors.Is(err, updater.ErrReboot) {
		err = Wait{For: "a reboot: " + err.Error(), Boot: e.boot(r.Update.Component)}
	}
	e.Log.Info("step", "update", r.Update.ID, "component", r.Update.Component, "step", s.Name,
		"back", r.Back, "took", time.Since(begin).Round(time.Millisecond), "error", err)
	return err
}

// end writes down how the update ended; only then is it over.
func (e *Engine) end(r Record, result string, cause error) (Outcome, error) {
	u := r.Update
	if result == Inconsistent {
		if err := e.remember(r); err != nil {
			return Outcome{}, err
		}
	}
	e.release(&u)
	o := u.outcome(result)
	o.Step, o.Cancelled = r.Failed, r.Cancelled != ""
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
