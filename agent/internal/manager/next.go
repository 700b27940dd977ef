package manager

import (
	"fmt"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A Decision says what to do about one component.
type Decision int

// The decisions.
const (
	Nothing   Decision = iota // the wish is answered, or there is none
	Update                    // run the engine
	Refuse                    // the wish can never be fulfilled
	Unchanged                 // it is fulfilled already
	Resume                    // have the engine go on with an update
)

// A Standing is what is wanted of one component, what it has, and where its
// update is.
type Standing struct {
	Component  string
	Wishes     engine.Wishes
	Installed  engine.Installed
	Unfinished *engine.Record // of the update in progress; nil if there is none, or none to go on with
	Asks       bool           // the device itself wants consent to updates of this component
	Known      time.Time      // since when the update in progress is known
	NotBefore  time.Time      // when to look again after something that is not in the journal stood in the way
}

// A Move is what to do next.
type Move struct {
	Component string
	Decision  Decision
	Cause     string // of Refuse and Unchanged
}

// Next decides what to do next on a device, if anything. It is a pure
// function: the same arguments give the same answer after any restart. What
// waits and may go on comes first, then new wishes; a package that requires
// another component's newer version comes after that, since it waits for it.
// What cannot go on holds nobody up.
func Next(all []Standing, now time.Time) (Move, bool) {
	for _, s := range all {
		if s.Unfinished != nil && !now.Before(s.NotBefore) && mayGoOn(all, s, now) {
			return Move{Component: s.Component, Decision: Resume}, true
		}
	}
	for _, s := range all {
		if s.Unfinished != nil || now.Before(s.NotBefore) {
			continue
		}
		if d, cause := decide(s.Wishes.Wish, s.Wishes.Settled, s.Installed); d != Nothing {
			return Move{s.Component, d, cause}, true
		}
	}
	return Move{}, false
}

// mayGoOn reports whether the reason why an update waits may have gone, or has
// become another one, which the twin should know.
func mayGoOn(all []Standing, s Standing, now time.Time) bool {
	w := s.Unfinished.Waiting
	switch {
	case w == nil || w.Poll || s.Unfinished.Cancelled != "" && !s.Unfinished.Back:
		return true
	case w.Boot != "":
		return false // this agent does not live to see the next boot
	}
	wait, waits := Permit(all, s.Unfinished.Update, now).(engine.Wait)
	return !waits || wait.For != w.For || !wait.Until.Equal(w.Until)
}

// decide decides about one wish. Settled is the last wish that was answered; a
// wish that equals it is old news, however often it is delivered.
func decide(wish, settled engine.Wish, installed engine.Installed) (Decision, string) {
	switch {
	case wish == (engine.Wish{}) || wish == settled:
		return Nothing, ""
	case wish.Remove != "":
		return remove(wish, installed)
	case wish.Version != "" && pack.CheckVersion(wish.Version) != nil:
		return Refuse, fmt.Sprintf("%q is no semantic version such as 1.4.0", wish.Version)
	case !slices.Contains([]string{"", engine.StateTransform, engine.StateSaved, engine.StateOptional}, wish.State):
		return Refuse, fmt.Sprintf("state %q is neither %q nor %q nor %q", wish.State, engine.StateTransform, engine.StateSaved, engine.StateOptional)
	case wish.Version != "" && wish.Version == installed.Version && (wish.Package == "" || wish.Package == installed.Digest):
		return Unchanged, "version " + wish.Version + " is installed already"
	case wish.Package != "" && wish.Package == installed.Digest:
		return Unchanged, "package " + wish.Package + " is installed already"
	case wish.Version == "" && wish.Package == "":
		return Nothing, ""
	}
	return Update, ""
}

// remove decides about a wish to remove the component. What was removed before
// may still have saved states to purge.
func remove(wish engine.Wish, installed engine.Installed) (Decision, string) {
	switch {
	case wish.Remove != engine.RemoveKeep && wish.Remove != engine.RemovePurge:
		return Refuse, fmt.Sprintf("remove %q is neither %q nor %q", wish.Remove, engine.RemoveKeep, engine.RemovePurge)
	case wish.Version != "" || wish.Package != "":
		return Refuse, "to remove the component and to install a version contradict each other"
	case installed.Version == "" && (wish.Remove == engine.RemoveKeep || installed.Previous == nil):
		return Unchanged, "nothing is installed"
	}
	return Update, ""
}
