package engine

import (
	"context"
	"errors"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// What a wish can say about removing the component. A removal is an update to
// no version: it waits for window and consent, stops dependants, saves the
// state, and turns back if something fails.
const (
	RemoveKeep  = "keep"  // its last state is kept: the way back leads to it
	RemovePurge = "purge" // nor is any saved state kept
)

// removes reports whether u is a removal.
func (u *Update) removes() bool { return u.Wish.Remove != "" }

// packageless reports whether u installs no package.
func (u *Update) packageless() bool { return u.same() || u.removes() }

// empties reports whether an empty state takes the place of the live one: a
// version that is installed later must not begin on what it does not know, nor one
// that cannot have the state of the version before.
func (u *Update) empties() bool {
	return u.saves() && (u.removes() || u.Lost && u.Restore == 0)
}

// done is the result of u when it has not turned back.
func (u *Update) done() string {
	if u.removes() {
		return Removed
	}
	return Updated
}

var errNotInstalled = errors.New("nothing is installed that could be removed")

func (e *Engine) resolveRemoval(u *Update) error {
	u.To = Installed{}
	if u.From.Version == "" && (u.Wish.Remove != RemovePurge || u.From.Previous == nil) {
		return errNotInstalled
	}
	return e.hopeless(u)
}

// empty makes the empty state.
func (e *Engine) empty(ctx context.Context, u *Update) error {
	u.New = u.Saved + 1
	if _, _, err := e.States.Load(ctx, u.Component, u.New); err == nil {
		return nil
	}
	if _, err := e.States.Fresh(u.Component, u.New); err != nil {
		return err
	}
	return e.seal(ctx, u, u.New, u.To)
}

// handNothing takes back the state that a version was handed, where there is none
// from before: between a removal and the next installation, or if it is lost.
func (e *Engine) handNothing(ctx context.Context, u *Update) error {
	s, err := e.updater(ctx, u)
	if err != nil {
		return err
	}
	gen := u.New + 1
	dir, err := e.States.Fresh(u.Component, gen)
	if err != nil {
		return err
	}
	if err := s.Apply(ctx, updater.ApplyRequest{Component: u.Component, Dir: dir}); err != nil {
		return err
	}
	return errors.Join(e.Holds(u.Component, u.From), e.drop(u, gen))
}

// purge drops all saved states, if that was asked for.
func (e *Engine) purge(u *Update) error {
	if u.Wish.Remove != RemovePurge {
		return nil
	}
	entries, err := e.Transform.List(u.Component, state.Needs{})
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		errs = append(errs, e.drop(u, entry.Generation))
	}
	return errors.Join(errs...)
}
