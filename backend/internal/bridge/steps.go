package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// An update of a device that knows only objects 5 and 9, from top to bottom. A
// step looks first at what is there already: it may be done again after a restart
// of the bridge or of the device, at any point. It ends with nil, with a [waiting],
// with a [failure], or with an error for which it is tried again; it never decides
// what comes next.
func steps() []step {
	return []step{
		// name, phase, the time that one try may take, tries
		{"resolve", "request", 2 * time.Minute, 5, (*run).resolve},           // version → package → artifact; may this device have it?
		{"clear", "preparation", 30 * time.Minute, 3, (*run).clear},          // give up what others have left in the object
		{"permit", "preparation", 0, 1, (*run).permit},                       // window and consent, if what is installed must make way first
		{"vacate", "preparation", 30 * time.Minute, 3, (*run).vacate},        // object 9: Uninstall for update
		{"deliver", "preparation", 24 * time.Hour, 8, (*run).deliver},        // by URI, or block by block
		{"admit", "preparation", 0, 1, (*run).admit},                         // window and consent
		{"install", "execution", time.Hour, 3, (*run).install},               // and wait for the outcome, over restarts of the device
		{"activate", "transformation", 10 * time.Minute, 3, (*run).activate}, // object 9, if it ran before or is new
		{"probe", "transformation", 10 * time.Minute, 1, (*run).probe},       // it has the version that it should
	}
}

// removing takes software off such a device.
func removing() []step {
	return []step{
		{firstStep, "request", 2 * time.Minute, 1, (*run).resolveRemoval}, // may it be?
		{"admit", "preparation", 0, 1, (*run).admit},                      // window and consent
		{"uninstall", "execution", 30 * time.Minute, 3, (*run).uninstall}, // object 9: Uninstall
	}
}

const firstStep = "resolve"

// withdrawal is what is done at the end if the update does not succeed.
func withdrawal() step {
	return step{"withdraw", "preparation", 2 * time.Minute, 1, (*run).withdraw}
}

type step struct {
	name, phase string
	limit       time.Duration // of one try while the device can be asked; 0 none
	tries       int
	do          func(*run, context.Context) error
}

// steps are those of the job.
func (j *job) steps() []step {
	if j.Goal.Remove != "" {
		return removing()
	}
	return steps()
}

// position is where a step of the job stands, -1 if it has no such step.
func (j *job) position(name string) int {
	return slices.IndexFunc(j.steps(), func(s step) bool { return s.name == name })
}

// step is where the job is.
func (j *job) step() step {
	if j.Ending != nil {
		return withdrawal()
	}
	return j.steps()[j.position(j.Step)]
}

// waiting says that a step goes on later: for what it waits, and until when, if that
// is known.
type waiting struct {
	what  string
	until time.Time
	soon  bool // as it always does: there is nothing to tell
}

func (w waiting) Error() string { return "still waits for " + w.what }

// shown is what the twin says of it.
func (w waiting) shown() string {
	if w.soon {
		return ""
	}
	return w.what
}

func soon(what string) waiting { return waiting{what: what, soon: true} }

// A failure ends the update. What has become of the component is the result; ""
// is what it is at that step.
type failure struct{ result, cause string }

func (f failure) Error() string { return f.cause }

// errHub says that the twin could not be told; nothing was done.
var errHub = errors.New("the twin was not told")

// A run is a step at work.
type run struct {
	*session
	j *job
	d *lwm2m.Device
	t *target
}

// A pace is how long a job waits.
type pace struct {
	poll  time.Duration // before it looks again, at first
	grace time.Duration // that a device may take to begin what it was told
	pause time.Duration // before the next try, then twice as long, up to maxTryPause
	limit time.Duration // of a try, in place of that of the step; 0: that of the step
}

var standardPace = pace{poll: 5 * time.Second, grace: 2 * time.Minute, pause: 10 * time.Second}

const maxTryPause = 10 * time.Minute

// drive carries out what is asked of components that have no agent.
func (s *session) drive(ctx context.Context) error {
	s.refuseBeyond()
	for {
		s.begin()
		j := s.job
		was := s.busy.Swap(j != nil)
		switch {
		case j == nil && (was || s.resumed):
			s.resumed = false
			s.idle()
			return nil
		case j == nil:
			return nil
		case !was:
			if err := s.begun(); err != nil {
				s.busy.Store(false)
				return fmt.Errorf("cannot note that an update begins: %w", err)
			}
		}
		s.reconsider(j)
		again, err := s.advance(ctx, j)
		if !again || err != nil {
			return err
		}
	}
}

// advance does one step; again says that there is more to do at once.
func (s *session) advance(ctx context.Context, j *job) (again bool, err error) {
	now, step := time.Now(), j.step()
	r := s.runOf(j)
	switch {
	case r.t == nil && step.name != firstStep:
		return s.absent(ctx, j, step)
	case now.Before(j.pause):
		s.wakeIn(time.Until(j.pause))
		return false, nil
	case j.Deadline.IsZero() && step.limit > 0:
		j.Deadline = now.Add(s.limitOf(step, r.d))
	}
	if err := r.note(ctx); err != nil {
		return false, err
	}
	short, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	err = step.do(r, short)
	if ctx.Err() != nil && err != nil {
		return false, nil // interrupted: it is done again
	}
	return s.judge(ctx, j, step, err)
}

// judge says what follows from how a step has ended.
func (s *session) judge(ctx context.Context, j *job, step step, err error) (again bool, _ error) {
	wait, waits := errors.AsType[waiting](err)
	j.waits = wait
	late := !j.Deadline.IsZero() && time.Now().After(j.Deadline)
	final, fails := errors.AsType[failure](err)
	switch {
	case errors.Is(err, errHub):
		return false, err
	case errors.Is(err, errOnceMore):
		return true, nil
	case j.Ending != nil && (!waits || late): // what is left behind is cleared before the next update
		return s.conclude(ctx, j)
	case err == nil && j.position(step.name) == len(j.steps())-1:
		j.Ending = &ending{Result: resultUpdated}
		if j.Goal.Remove != "" {
			j.Ending.Result = resultRemoved
		}
		return s.conclude(ctx, j)
	case err == nil:
		j.Step, j.Tries, j.Deadline, j.pause, j.looks = j.steps()[j.position(j.Step)+1].name, 0, time.Time{}, time.Time{}, 0
		return true, nil
	case fails:
		s.fail(j, final)
		return true, nil
	case !late && (waits || unreachable(err)):
		s.wakeIn(s.nextLook(j))
		return false, nil
	case late:
		err = fmt.Errorf("not within %v: %w", s.limitOf(step, nil), err)
	}
	return s.tryAgain(j, step, err), nil
}

// maxPoll bounds the time between two looks at a device that does not tell of
// changes by itself: they cost it energy.
const maxPoll = time.Minute

// nextLook is when to look again: soon at first, then less and less often. How far
// a push is costs the device nothing.
func (s *session) nextLook(j *job) time.Duration {
	if s.push != nil {
		return s.pace.poll
	}
	j.looks++
	return min(s.pace.poll<<min(j.looks/4, 10), max(maxPoll, s.pace.poll))
}

func unreachable(err error) bool {
	return errors.Is(err, lwm2m.ErrUnreachable) || errors.Is(err, lwm2m.ErrGone)
}

// tryAgain counts a try that has failed. After the last one the update ends.
func (s *session) tryAgain(j *job, step step, cause error) (again bool) {
	j.Tries++
	s.log.Warn("a step of an update has failed", "component", j.Component, "update", j.ID, "step", step.name, "try", j.Tries, "of", step.tries, "error", cause)
	if j.Tries >= step.tries {
		s.fail(j, failure{cause: cause.Error()})
		return true
	}
	switch step.name {
	case "deliver":
		j.Offered, j.Pushed = false, false
	case "install", "uninstall":
		j.Told = false
	}
	j.Deadline, j.looks = time.Time{}, 0
	j.pause = time.Now().Add(min(s.pace.pause<<(j.Tries-1), maxTryPause))
	j.waits = waiting{what: "the next try, since " + clip(cause.Error()), until: j.pause.UTC()}
	s.wakeIn(time.Until(j.pause))
	return false
}

// absent is what there is to do while the device is away or sleeps. It may take
// as long as it likes, unless it was told to install: then it should come back.
func (s *session) absent(ctx context.Context, j *job, step step) (again bool, err error) {
	switch {
	case j.Ending != nil:
		return s.conclude(ctx, j)
	case !j.Told || j.Deadline.IsZero():
		return false, nil
	case time.Now().Before(j.Deadline):
		s.wakeIn(time.Until(j.Deadline))
		return false, nil
	}
	s.fail(j, failure{resultInconsistent, fmt.Sprintf("the device has not been heard of since it was told to %s: look at it; if it comes back its version shows what has become of it", j.order())})
	return true, nil
}

// order is what the device was told at last.
func (j *job) order() string {
	if j.Goal.Remove != "" {
		return "remove " + j.Component
	}
	return "install " + j.To
}

// limitOf is how long one try of a step may take. A device that sleeps may be heard
// of once in its lifetime only.
func (s *session) limitOf(step step, d *lwm2m.Device) time.Duration {
	limit := step.limit
	if s.pace.limit > 0 {
		limit = s.pace.limit
	}
	if d != nil && d.Registration().QueueMode {
		limit += d.Registration().Lifetime
	}
	return limit
}

// runOf is a step at work on a device; without a target if the device is not to be
// asked now.
func (s *session) runOf(j *job) *run {
	s.mu.Lock()
	d := s.device
	s.mu.Unlock()
	r := &run{session: s, j: j, d: d}
	if listens(d) && s.looked == d {
		r.t = s.at(j.Object)
	}
	return r
}

// note has the twin know where the job is.
func (r *run) note(ctx context.Context) error {
	if err := r.tell(ctx); err != nil {
		return fmt.Errorf("%w: %w", errHub, err)
	}
	return nil
}

// look reads the target.
func (r *run) look(ctx context.Context) (view, error) {
	err := r.t.refresh(ctx, r.d)
	return r.t.view, err
}

// settled reports whether a device has had the time to begin what it was told.
func (r *run) settled() bool { return time.Since(r.j.Since) > r.pace.grace }

// wakeIn wakes the session after a while.
func (s *session) wakeIn(d time.Duration) { s.alarm.Reset(max(d, 0)) }

// begin makes a job of the first wish that has no answer.
func (s *session) begin() {
	if s.job != nil {
		return
	}
	for _, t := range s.targets {
		w, wished := s.wants[t.component]
		was, is := answered(s.base, t.component)
		if !wished || w.keepsWish || !w.goal().wished() || is && was == w.goal() {
			continue
		}
		s.job = &job{
			ID: newUpdateID(), Component: t.component, Object: t.path, Goal: w.goal(),
			From: t.view.version, To: w.version, Active: t.view.active, Step: firstStep,
		}
		s.log.Info("update begins", "component", t.component, "update", s.job.ID, "from", t.view.version, "to", w.version)
		return
	}
}

// reconsider ends a job that nobody wants any more, before the device was told to
// install or to remove something.
func (s *session) reconsider(j *job) {
	w, wished := s.wants[j.Component]
	_, unreadable := s.refused["components"]
	cause := ""
	switch {
	case j.Ending != nil || j.Told || unreadable || w.keepsWish:
	case wished && w.terms.refused == j.ID:
		cause = "cancelled as asked"
	case !w.goal().wished():
		cause = "the wish was taken back"
	case w.goal() != j.Goal:
		cause = "another wish has taken its place"
	}
	if cause != "" {
		s.fail(j, failure{cause: cause})
		j.Ending.Cancelled = true
	}
}

const (
	resultUpdated      = "updated"
	resultRemoved      = "removed"
	resultUnchanged    = "unchanged"
	resultRefused      = "refused"
	resultTurnedBack   = "turned back"
	resultInconsistent = "inconsistent"
)

// fail has a job end: what is on the device is given up first.
func (s *session) fail(j *job, f failure) {
	s.endPush()
	result, cause := f.result, f.cause
	t := s.at(j.Object)
	switch {
	case result != "":
	case !j.touched():
		result = resultRefused
	case j.Object.Object() == objects.SoftwareManagementID && j.From != "" && j.Active && (t == nil || !t.view.active):
		result = resultInconsistent
		cause += "; what was installed has made way and does not run: have the version tried anew, or another one"
	case j.Goal.Remove == "" && j.position(j.Step) > j.position("install"):
		result = resultInconsistent
	default:
		result = resultTurnedBack
	}
	j.Ending = &ending{Result: result, Cause: cause, Step: j.Step}
	j.Deadline, j.pause, j.waits = time.Time{}, time.Time{}, waiting{}
}
