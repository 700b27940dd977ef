package manager

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/window"
)

// Permit tells whether an update may begin to disturb its component: nil, an
// [engine.Wait], or an error if it never may. It is a pure function of what
// is known of the device and of the wall clock.
func Permit(all []Standing, u engine.Update, now time.Time) error {
	s, _ := find(all, u.Component)
	s.Component, s.Unfinished = u.Component, &engine.Record{Update: u} // newer than the journal's
	all = append([]Standing{s}, slices.DeleteFunc(slices.Clone(all), func(o Standing) bool { return o.Component == u.Component })...)
	var waits []engine.Wait
	checks := []func([]Standing, Standing, time.Time) error{requirements, consent, windowOpen}
	if u.Urgent {
		checks = checks[:1]
	}
	for _, check := range checks {
		err := check(all, s, now)
		var wait engine.Wait
		switch {
		case errors.As(err, &wait):
			waits = append(waits, wait)
		case err != nil:
			return err
		}
	}
	return join(waits)
}

// join makes one wait of several: it is over when all are.
func join(waits []engine.Wait) error {
	if len(waits) == 0 {
		return nil
	}
	whole, reasons := waits[0], []string{waits[0].For}
	for _, w := range waits[1:] {
		reasons = append(reasons, w.For)
		if whole.Until.IsZero() || w.Until.IsZero() {
			whole.Until = time.Time{}
		} else if w.Until.After(whole.Until) {
			whole.Until = w.Until
		}
	}
	whole.For = strings.Join(reasons, "; ")
	return whole
}

func find(all []Standing, component string) (Standing, bool) {
	i := slices.IndexFunc(all, func(s Standing) bool { return s.Component == component })
	if i < 0 {
		return Standing{}, false
	}
	return all[i], true
}

// consent waits for an answer that names this very update.
func consent(_ []Standing, s Standing, _ time.Time) error {
	id, terms, answer := s.Unfinished.Update.ID, s.Wishes.Terms, s.Wishes.Answer
	asks := s.Asks || terms.Consent == engine.ConsentAsk
	switch {
	case refused(s.Wishes, id) && asks:
		return errors.New("consent was refused")
	case refused(s.Wishes, id):
		return fmt.Errorf("%w as asked", engine.ErrCancelled)
	case !asks,
		terms.Consented == id, answer == engine.Answer{Update: id, Yes: true}:
		return nil
	}
	return engine.Wait{For: "consent to update " + id}
}

// refused reports whether somebody has refused an update.
func refused(w engine.Wishes, update string) bool {
	return w.Terms.Refused == update || w.Answer == engine.Answer{Update: update}
}

// earliest is before this program was written: a clock that shows less was
// never set.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// windowOpen waits until the maintenance window is open, for as long as the
// component is predicted to be away, unless the version need not.
func windowOpen(_ []Standing, s Standing, now time.Time) error {
	terms, away := s.Wishes.Terms, s.Unfinished.Update.Predicted
	if terms.Window == "" || terms.Now != "" && terms.Now == s.Unfinished.Update.To.Version {
		return nil
	}
	w, err := window.Parse(terms.Window)
	switch {
	case err != nil:
		return engine.Wait{For: "a maintenance window that can be read: " + err.Error()}
	case now.Before(earliest):
		return engine.Wait{For: "a clock that is set, for the maintenance window"}
	}
	next, some := w.Next(now)
	fits, ever := w.Fits(now, away)
	wait := engine.Wait{For: "the maintenance window " + terms.Window, Until: fits.UTC()}
	switch {
	case !some: // it is closed
		wait.Until = time.Time{}
	case !ever:
		return fmt.Errorf("the maintenance window %s is never open for as long as the predicted downtime of %s: have a longer one, or ask for the version with now",
			terms.Window, away.Round(time.Millisecond))
	case fits.Equal(now):
		return nil
	case !next.Equal(fits):
		wait.For += fmt.Sprintf(" to be open for the predicted downtime of %s", away.Round(time.Millisecond))
	}
	return wait
}

// opens is when a maintenance window that is closed now will open, zero if it
// is open, or nobody knows.
func opens(text string, now time.Time) time.Time {
	w, err := window.Parse(text)
	if err != nil || now.Before(earliest) || w.Open(now) {
		return time.Time{}
	}
	next, _ := w.Next(now)
	return next.UTC()
}

// wishGrace is how long an update waits for somebody to wish for what it
// requires: wishes for several components arrive one after the other.
const wishGrace = 15 * time.Second

// requirements waits until other components have the versions that the new
// package requires, if their updates will bring them.
func requirements(all []Standing, s Standing, now time.Time) error {
	required := s.Unfinished.Update.Requires
	for _, name := range slices.Sorted(maps.Keys(required)) {
		if err := requirement(all, s, name, required[name], now); err != nil {
			return err
		}
	}
	return nil
}

func requirement(all []Standing, s Standing, name, constraint string, now time.Time) error {
	other, here := find(all, name)
	if !here {
		return fmt.Errorf("the package requires %s %s, and this device has no such component", name, constraint)
	}
	if satisfies(other.Installed.Version, constraint) {
		return nil
	}
	unmet := fmt.Sprintf("the package requires %s %s; installed is %q", name, constraint, other.Installed.Version)
	target, wished := other.target()
	switch {
	case !wished && now.Before(s.Known.Add(wishGrace)):
		return engine.Wait{For: fmt.Sprintf("somebody to ask for %s %s, which the package requires", name, constraint), Until: s.Known.Add(wishGrace).UTC()}
	case !wished:
		return fmt.Errorf("%s, and no update of it is asked for", unmet)
	case target != "" && !satisfies(target, constraint):
		return fmt.Errorf("%s, and asked for is %s", unmet, target)
	}
	if loop := cycle(all, s.Component, name, nil); loop != nil {
		return fmt.Errorf("%s, and neither can be first: %s", unmet, strings.Join(append([]string{s.Component}, loop...), " requires "))
	}
	return engine.Wait{For: fmt.Sprintf("the update of %s, since the package requires %s", name, constraint)}
}

// satisfies counts a constraint that cannot be read as not met.
func satisfies(version, constraint string) bool {
	ok, err := pack.Satisfies(version, constraint)
	return ok && err == nil
}

// target is the version that a component is on the way to, "" if that is not
// known yet.
func (s Standing) target() (version string, wished bool) {
	if r := s.Unfinished; r != nil {
		if r.Back || r.Cancelled != "" {
			return "", false
		}
		if r.Update.To.Version != "" {
			return r.Update.To.Version, true
		}
		return r.Update.Wish.Version, true
	}
	d, _ := decide(s.Wishes.Wish, s.Wishes.Settled, s.Installed)
	return s.Wishes.Wish.Version, d == Update
}

// cycle follows requirements that are not met from one component until it
// comes back to start, and returns the way, or nil.
func cycle(all []Standing, start, at string, way []string) []string {
	if slices.Contains(way, at) {
		return nil // a circle, but not through start
	}
	way = append(way, at)
	s, _ := find(all, at)
	if at == start {
		return way
	}
	if s.Unfinished == nil {
		return nil
	}
	required := s.Unfinished.Update.Requires
	for _, name := range slices.Sorted(maps.Keys(required)) {
		other, _ := find(all, name)
		if satisfies(other.Installed.Version, required[name]) {
			continue
		}
		if loop := cycle(all, start, name, way); loop != nil {
			return loop
		}
	}
	return nil
}
