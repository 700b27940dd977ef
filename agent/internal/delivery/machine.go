package delivery

import (
	"cmp"
	"fmt"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// The transitions of a delivery. They change nothing but what they return; an
// error means that there is no such transition.
//
//	""          → downloading             begin, if nothing is installed, or it makes way
//	downloading → downloaded → delivered  advance
//	delivered   → installing → ""         install, settle
//	installing  → delivered               settle, of what failed
//	""          → removing → ""           uninstall, settle
//	all but installing, removing → ""     drop; while it is being brought, fail

func begin(v engine.View, d, from engine.Delivery, inPlace bool) (engine.Delivery, error) {
	if d.State != "" || !inPlace && !v.Vacant() {
		return d, fmt.Errorf("%w: %s", engine.ErrNotNow, cmp.Or(d.State, "installed"))
	}
	from.Number, from.State, from.Upgrades = d.Number+1, engine.Downloading, d.Upgrades
	return from, nil
}

// refused is the result of a URI that cannot be used; nothing else changes.
func refused(v engine.View, d engine.Delivery, inPlace bool, result string, cause error) (engine.Delivery, error) {
	if _, err := begin(v, d, engine.Delivery{}, inPlace); err != nil {
		return d, err
	}
	return over(d, result, cause.Error()), nil
}

// over ends a delivery; what it knew of its package goes.
func over(d engine.Delivery, result, reason string) engine.Delivery {
	return engine.Delivery{Number: d.Number, Upgrades: d.Upgrades, Since: d.Since, Result: result, Reason: reason}
}

func advance(d engine.Delivery, number int, state string) (engine.Delivery, error) {
	if d.Number != number || d.State != engine.Downloading && d.State != engine.Downloaded {
		return d, engine.ErrNotNow
	}
	d.State = state
	if state == engine.Delivered {
		d.User, d.Password = "", ""
	}
	return d, nil
}

func fail(d engine.Delivery, number int, result, reason string) (engine.Delivery, error) {
	if d.Number != number || d.State == "" || d.State == engine.Installing || d.State == engine.Removing {
		return d, engine.ErrNotNow
	}
	return over(d, result, reason), nil
}

func drop(d engine.Delivery, result string) (engine.Delivery, error) {
	switch d.State {
	case engine.Downloading, engine.Downloaded, engine.Delivered:
		return over(d, result, ""), nil
	}
	return d, engine.ErrNotNow
}

func install(d engine.Delivery, attempt int) (engine.Delivery, error) {
	if d.State != engine.Delivered {
		return d, engine.ErrNotNow
	}
	d.State, d.Result, d.Reason = engine.Installing, "", ""
	d.Wish = engine.Wish{Package: d.Package, Attempt: attempt}
	return d, nil
}

func uninstall(v engine.View, d engine.Delivery, upgrade bool, attempt int) (engine.Delivery, error) {
	if d.State != "" || v.Vacant() {
		return d, engine.ErrNotNow
	}
	d.Result, d.Reason = "", ""
	if upgrade {
		d.Upgrades = v.Installed.Digest
		return d, nil
	}
	d.State, d.Wish = engine.Removing, engine.Wish{Remove: engine.RemoveKeep, Attempt: attempt}
	return d, nil
}

// attempt makes a wish another one than all before it that may yet be answered.
func attempt(v engine.View, w engine.Wishes) int {
	last := max(w.Wish.Attempt, w.Settled.Attempt)
	if v.Outcome != nil {
		last = max(last, v.Outcome.Wish.Attempt)
	}
	return last + 1
}

// settle reports what has become of the wish of a delivery, as soon as that is
// known: it was answered, or another one has taken its place.
func settle(v engine.View) (d engine.Delivery, ended bool) {
	d = v.Delivery
	if d.State != engine.Installing && d.State != engine.Removing {
		return d, false
	}
	var o engine.Outcome
	switch {
	case v.Outcome != nil && v.Outcome.Wish == d.Wish:
		o = *v.Outcome
	case v.Wish != d.Wish && v.Progress == nil:
		o.Cause = "a newer wish has taken its place"
	default:
		return d, false
	}
	done := o.Result == engine.Updated || o.Result == engine.Removed || o.Result == engine.Unchanged
	switch {
	case d.State == engine.Removing && done:
		d = over(d, "", "")
		d.Upgrades = ""
	case d.State == engine.Removing:
		d = over(d, engine.UninstallFailed, o.Cause)
	case done:
		d = over(d, engine.Succeeded, "")
		d.Upgrades = ""
	default:
		d.State, d.Result, d.Reason, d.Wish = engine.Delivered, engine.InstallFailed, o.Cause, engine.Wish{}
	}
	return d, true
}
