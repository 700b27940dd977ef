package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// device is the world outside the runner: it survives power cuts, as a disk
// does.
type device struct {
	record   *Record
	outcome  Outcome
	done     map[string]bool
	trace    []string
	budget   int // operations until the power fails; <0: it does not
	failAt   string
	failOnce bool // only the first time: with a power cut, the nastiest case
}

// powerCut ends a run as a dying process does: at once, wherever it is.
type powerCut struct{}

func (d *device) op(s string) {
	if d.budget == 0 {
		panic(powerCut{})
	}
	d.budget--
	d.trace = append(d.trace, s)
}

func (d *device) Load(string) (Record, bool, error) {
	if d.record == nil {
		return Record{}, false, nil
	}
	return *d.record, true, nil
}

func (d *device) Unfinished() ([]Record, error) { return nil, nil }

func (d *device) Save(r Record) error {
	d.op("save")
	d.record = &r
	return nil
}

func (d *device) End(_ Record, o Outcome) error {
	d.op("end")
	d.record, d.outcome = nil, o
	return nil
}

func (d *device) step(phase Phase, name string, undo bool) Step {
	s := Step{Phase: phase, Name: name, Within: time.Minute, Tries: 2, Crashes: 5, Undo: nothing, Do: func(context.Context, *Update) error {
		d.op(name)
		d.done[name] = true // half done: what Undo must take back even if Do fails
		d.op(name + "…")
		if d.failAt == name {
			if d.failOnce {
				d.failAt = ""
			}
			return errors.New("boom")
		}
		return nil
	}}
	if undo {
		s.Undo = func(context.Context, *Update) error {
			d.op("-" + name)
			delete(d.done, name)
			return nil
		}
	}
	return s
}

func (d *device) steps() []Step {
	return []Step{
		d.step(Preparation, "download", true), d.step(Execution, "stop", true), d.step(Transformation, "transform", true),
		d.step(Transformation, "start", true), d.step(Transformation, pointOfNoReturn, false), d.step(Transformation, "clean", false),
	}
}

func (d *device) engine() *Engine {
	return &Engine{Journal: d, Tell: func(Progress) {}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), firstPause: time.Microsecond}
}

// run runs an update in a process that may lose power.
func (d *device) run(ctx context.Context, steps []Step) (o Outcome, err error, cut bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(powerCut); !ok {
				panic(r)
			}
			cut = true
		}
	}()
	o, err = d.engine().run(ctx, steps, Update{ID: "1", Component: "application/a"})
	return o, err, false
}

// With the power cut after each operation in turn, an update ends with all of
// the new version or all of the old one, and an empty journal.
func TestPowerCuts(t *testing.T) {
	for _, failAt := range []string{"", "download", "stop", "transform", "start"} {
		for _, once := range []bool{false, true} {
			for cut := range 40 {
				t.Run(fmt.Sprintf("fail=%s/once=%v/cut=%d", failAt, once, cut), func(t *testing.T) {
					d := &device{done: map[string]bool{}, budget: cut, failAt: failAt, failOnce: once}
					o, err, wasCut := d.run(t.Context(), d.steps())
					if wasCut {
						d.budget = -1
						o, err, _ = d.run(t.Context(), d.steps())
					}
					want := 0
					if o.Result == Updated {
						want = 6
					}
					if err != nil || len(d.done) != want || d.record != nil {
						t.Fatalf("half updated: %v, result %q, error %v, journal %v, trace %s", d.done, o.Result, err, d.record, strings.Join(d.trace, " "))
					}
					if failAt != "" && !once && o.Result == Updated {
						t.Fatal("updated although a step always fails")
					}
				})
			}
		}
	}
}

func TestResults(t *testing.T) {
	for failAt, want := range map[string]string{"": Updated, "download": Refused, "stop": TurnedBack, "start": TurnedBack, "clean": Inconsistent} {
		d := &device{done: map[string]bool{}, budget: -1, failAt: failAt}
		o, err, _ := d.run(t.Context(), d.steps())
		if err != nil || o.Result != want || d.outcome.Result != want {
			t.Errorf("a failing %q gives %q (kept: %q), want %q; error %v", failAt, o.Result, d.outcome.Result, want, err)
		}
		if failAt != "" && (!strings.Contains(o.Cause, failAt) || !strings.Contains(o.Cause, "boom")) {
			t.Errorf("the cause %q does not say what failed", o.Cause)
		}
	}
}

// An undo that fails leaves nobody in doubt.
func TestInconsistent(t *testing.T) {
	d := &device{done: map[string]bool{}, budget: -1, failAt: "start"}
	steps := d.steps()
	steps[1].Undo = func(context.Context, *Update) error { return errors.New("jammed") }
	o, err, _ := d.run(t.Context(), steps)
	if err != nil || o.Result != Inconsistent || !strings.Contains(o.Cause, "jammed") || !strings.Contains(o.Cause, "boom") {
		t.Fatalf("%+v, %v", o, err)
	}
}

// A step that takes the device down every time is given up and undone.
func TestCrashLoop(t *testing.T) {
	d := &device{done: map[string]bool{}}
	for boots := 1; ; boots++ {
		d.budget = 4 // save, download, download…, save; dies when it stops
		switch {
		case d.record != nil && !d.record.Back:
			d.budget = 1
		case d.record != nil:
			d.budget = -1
		}
		o, err, cut := d.run(t.Context(), d.steps())
		if !cut {
			if err != nil || o.Result != TurnedBack || len(d.done) != 0 {
				t.Fatalf("%+v, %v, %v", o, err, d.done)
			}
			return
		}
		if boots > 20 {
			t.Fatal("boot loop")
		}
	}
}

func TestPassingErrorsAreTriedAgain(t *testing.T) {
	d := &device{done: map[string]bool{}, budget: -1}
	steps, calls := d.steps(), 0
	steps[0].Do = func(context.Context, *Update) error {
		if calls++; calls < steps[0].Tries {
			return Retry{Err: errors.New("busy")}
		}
		return nil
	}
	if o, err, _ := d.run(t.Context(), steps); err != nil || o.Result != Updated || calls != 2 {
		t.Fatalf("%+v, %v after %d calls", o, err, calls)
	}
	steps[0].Do = func(context.Context, *Update) error { calls++; return Retry{Err: errors.New("busy")} }
	calls = 0
	if o, err, _ := d.run(t.Context(), steps); err != nil || o.Result != Refused || calls != 2 {
		t.Fatalf("%+v, %v after %d calls", o, err, calls)
	}
}

// Wait, and the end of the process, leave the update in the journal.
func TestWaitAndCancelKeepTheJournal(t *testing.T) {
	d := &device{done: map[string]bool{}, budget: -1}
	steps := d.steps()
	steps[1].Do = func(context.Context, *Update) error { return Wait{For: "a sign"} }
	var wait Wait
	if _, err, _ := d.run(t.Context(), steps); !errors.As(err, &wait) || d.record == nil || d.record.Step != "stop" {
		t.Fatalf("%v, %+v", err, d.record)
	}
	ctx, cancel := context.WithCancel(t.Context())
	steps[1].Do = func(ctx context.Context, _ *Update) error { cancel(); <-ctx.Done(); return ctx.Err() }
	if _, err, _ := d.run(ctx, steps); !errors.Is(err, context.Canceled) || d.record == nil || d.record.Back {
		t.Fatalf("%v, %+v", err, d.record)
	}
	if o, err, _ := d.run(t.Context(), d.steps()); err != nil || o.Result != Updated {
		t.Fatalf("%+v, %v", o, err)
	}
}

func TestDeadline(t *testing.T) {
	d := &device{done: map[string]bool{}, budget: -1}
	steps := d.steps()
	steps[0].Within = time.Millisecond
	steps[0].Do = func(ctx context.Context, _ *Update) error { <-ctx.Done(); return ctx.Err() }
	if o, err, _ := d.run(t.Context(), steps); err != nil || o.Result != Refused || !strings.Contains(o.Cause, "not done within 1ms") {
		t.Fatalf("%+v, %v", o, err)
	}
}

func TestUnknownStepIsAnErrorAndKeepsTheJournal(t *testing.T) {
	d := &device{done: map[string]bool{}, budget: -1, record: &Record{Step: "of a later agent", Update: Update{ID: "1"}}}
	if _, err, _ := d.run(t.Context(), d.steps()); err == nil || d.record == nil {
		t.Fatal("the update was forgotten")
	}
}

// The real list: phases in order, every step before the point of no return
// that changes something can be undone, and no name comes twice.
func TestTheListOfSteps(t *testing.T) {
	committed := false
	order := map[Phase]int{Request: 0, Preparation: 1, Execution: 2, Transformation: 3}
	seen, last := map[string]bool{}, 0
	for _, s := range new(Engine).steps() {
		if seen[s.Name] || order[s.Phase] < last || s.Do == nil || s.Undo == nil || s.Within <= 0 || s.Tries <= 0 || s.Crashes <= 0 {
			t.Errorf("step %+v", s)
		}
		if committed = committed || s.Name == pointOfNoReturn; committed != (s.Cancel == tooLate) {
			t.Errorf("%s: a cancel is too late from %s on, and not before", s.Name, pointOfNoReturn)
		}
		seen[s.Name], last = true, order[s.Phase]
	}
	if !seen[pointOfNoReturn] {
		t.Error("no point of no return")
	}
}

// A cancelled update turns back and says why; when it cannot, the caller
// hears that instead.
func TestCancel(t *testing.T) {
	for at, want := range map[string]string{"download": Refused, "transform": TurnedBack} {
		d := &device{done: map[string]bool{}, budget: -1}
		e, steps := d.engine(), d.steps()
		for i := range steps {
			do := steps[i].Do
			steps[i].Do = func(ctx context.Context, u *Update) error {
				if steps[i].Name == at {
					if err := e.Cancel("application/a", "by Ada"); err != nil {
						t.Error(err)
					}
					if err := e.Cancel("application/a", "again"); !errors.Is(err, ErrGoesBack) {
						t.Errorf("a second cancel: %v", err)
					}
				}
				return do(ctx, u) // the step itself takes no notice
			}
		}
		o, err := e.run(t.Context(), steps, Update{ID: "1", Component: "application/a"})
		if err != nil || o.Result != want || !strings.Contains(o.Cause, "by Ada") || len(d.done) != 0 {
			t.Errorf("cancelled in %s: %+v, %v, %v", at, o, err, d.done)
		}
	}
}

func TestCancelTooLate(t *testing.T) {
	d := &device{done: map[string]bool{}, budget: -1}
	e, steps := d.engine(), d.steps()
	late := func(ctx context.Context, u *Update) error {
		if err := e.Cancel("application/a", "by Ada"); !errors.Is(err, ErrTooLate) {
			t.Errorf("cancel: %v", err)
		}
		return nil
	}
	steps[4].Do, steps[5].Do = late, late
	if o, err := e.run(t.Context(), steps, Update{ID: "1", Component: "application/a"}); err != nil || o.Result != Updated {
		t.Errorf("%+v, %v", o, err)
	}
	if err := e.Cancel("application/a", "by Ada"); !errors.Is(err, ErrNoUpdate) {
		t.Errorf("cancel after the end: %v", err)
	}
}

// After a restart it is as late as before: an update that has committed is
// never undone.
func TestCancelTooLateAfterARestart(t *testing.T) {
	for _, at := range []int{4, 5} {
		d := &device{done: map[string]bool{}, budget: -1}
		e, steps := d.engine(), d.steps()
		steps[at].Do = func(context.Context, *Update) error {
			if err := e.Cancel("application/a", "by Ada"); !errors.Is(err, ErrTooLate) {
				t.Errorf("cancel in %s: %v", steps[at].Name, err)
			}
			return nil
		}
		d.record = &Record{Update: Update{ID: "1", Component: "application/a"}, Step: steps[at].Name, Begun: 1}
		if o, err := e.run(t.Context(), steps, Update{Component: "application/a"}); err != nil || o.Result != Updated {
			t.Errorf("%+v, %v", o, err)
		}
	}
}

// A step that waits for something notices the cancel at once, and the reason
// is the cancel, not what the step made of it.
func TestCancelInterrupts(t *testing.T) {
	d := &device{done: map[string]bool{}, budget: -1}
	e, steps := d.engine(), d.steps()
	steps[1].Do = func(ctx context.Context, _ *Update) error {
		_ = e.Cancel("application/a", "by Ada")
		<-ctx.Done()
		return Retry{Err: errors.New("lost the connection")}
	}
	o, err := e.run(t.Context(), steps, Update{ID: "1", Component: "application/a"})
	if err != nil || o.Result != TurnedBack || !strings.HasSuffix(o.Cause, "cancelled: by Ada") {
		t.Errorf("%+v, %v", o, err)
	}
}
