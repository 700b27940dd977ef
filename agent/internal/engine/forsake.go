package engine

import (
	"context"
	"fmt"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
)

// forsakes reports whether u goes on if the state of the installed version cannot
// be saved: one that crashes, or does not hand over its state, could be left by
// nothing else. Whoever asked for u has said so. If it turns back after that, the
// installed version has no state either.
func (u *Update) forsakes() bool {
	return u.Losing || u.Wish.Remove == RemovePurge || u.Wish.State == StateOptional
}

// kept is the generation that u has saved; 0 if there is none.
func (u *Update) kept() state.Generation {
	if u.Lost {
		return 0
	}
	return u.Saved
}

// forsake takes the state of the installed version for lost, if u may do without
// it, and else returns why it cannot be saved.
func (e *Engine) forsake(ctx context.Context, u *Update, why error) error {
	if !u.forsakes() || ctx.Err() != nil || passing(why) {
		return why
	}
	e.Log.Warn("the state cannot be saved, and is not needed", "update", u.ID, "component", u.Component, "cause", why)
	u.notice(fmt.Sprintf("the last state of version %s could not be saved, and is not kept: %v", u.From.Version, why))
	u.Lost = true
	return e.drop(u, u.Saved)
}

// unrehearsed lets u do without a snapshot of the live state on the same terms:
// whether the state can be saved shows when the component has stopped.
func (e *Engine) unrehearsed(ctx context.Context, u *Update, why error) error {
	if !u.forsakes() || ctx.Err() != nil || passing(why) {
		return why
	}
	e.Log.Warn("the state cannot be rehearsed, and may be lost", "update", u.ID, "component", u.Component, "cause", why)
	gen := u.Rehearsal
	u.Rehearsal = 0
	return e.drop(u, gen)
}
