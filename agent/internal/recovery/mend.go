package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Choices carry out what an operator decides; *[engine.Engine] does.
type Choices interface {
	Offer(ctx context.Context, component string, i engine.Installed, gen state.Generation) (engine.Update, error)
	Park(ctx context.Context, component string) (state.Generation, error)
}

// Mend has a component go on as an operator has decided: on the state that it
// has, as that of the version which the updater has, or on the saved one that
// u.Restore names. What it had before is saved. It is told what came of it, in
// an outcome. It is left to an update, which can turn back, if version and
// state belong together and only another state is wanted.
//
// After a crash in between it can be done again.
func (r *Recovery) Mend(ctx context.Context, u engine.Update) (left bool, err error) {
	installed, err := r.Memory.Installed(u.Component)
	if err != nil {
		return false, err
	}
	if _, open, err := r.Memory.Load(u.Component); err != nil || open {
		return false, r.mended(ctx, u, engine.Refused, "an update of the component has not ended: cancel it, or let it end", err)
	}
	h, status, err := r.ask(ctx, u.Component)
	if err != nil {
		return false, r.mended(ctx, u, engine.Refused, "it is not known what is installed", err)
	}
	together := installed.Version == status.Version && !status.NoState
	switch {
	case status.Version == "":
		return false, r.mended(ctx, u, engine.Refused, "nothing is installed: ask for a version", nil)
	case status.NoState && u.Restore == 0:
		return false, r.mended(ctx, u, engine.Refused, "its live state is gone: choose a saved one", nil)
	case together && u.Restore != 0:
		return true, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !together {
		i := installed
		if i.Version != status.Version {
			i = engine.Installed{Version: status.Version, Handle: status.Handle, Held: installed.Held}
		}
		if installed, err = r.Engine.Describe(ctx, u.Component, i); err != nil {
			return false, r.mended(ctx, u, engine.Refused, "publish the package of version "+status.Version+" first", err)
		}
	}
	if u.From, u.To = installed, installed; u.Restore != 0 {
		return false, r.change(ctx, h, u, status.Running)
	}
	return false, r.goOn(ctx, h, u, engine.Unchanged, "version "+u.To.Version+" goes on with the state that it has, as was decided")
}

// change gives a component a saved state; it is stopped if it runs.
func (r *Recovery) change(ctx context.Context, h *updater.Client, u engine.Update, runs bool) error {
	chosen, err := r.Choices.Offer(ctx, u.Component, u.To, u.Restore)
	if err != nil {
		return r.mended(ctx, u, engine.Refused, fmt.Sprintf("generation %d cannot become the state of version %s", u.Restore, u.To.Version), err)
	}
	if _, err := h.Stop(ctx, updater.StopRequest{Component: u.Component}); err != nil {
		return r.mended(ctx, u, engine.Refused, "the component cannot be stopped", err)
	}
	parked, held, err := r.park(ctx, u, runs)
	if err != nil {
		return r.mended(ctx, u, engine.Refused, "the present state cannot be saved", err)
	}
	before := "what it had before was of no known version, and is not kept"
	if parked != 0 {
		before = fmt.Sprintf("the state that it had is generation %d", parked)
	}
	if err := r.Engine.Reinstate(ctx, chosen); err != nil {
		return r.mended(ctx, u, engine.Inconsistent, fmt.Sprintf("generation %d cannot be put in place", u.Restore), err)
	}
	u.To.Held = held
	return r.goOn(ctx, h, u, engine.Updated, fmt.Sprintf("version %s goes on with generation %d; %s", u.To.Version, u.Restore, before))
}

// park saves the live state, and notes durably, before another one is put in
// its place, that both are held. What an earlier try of the same repair has
// saved is not saved again, unless the component has run since: by then that
// other state may be live, or a part of it.
func (r *Recovery) park(ctx context.Context, u engine.Update, runs bool) (parked state.Generation, held []state.Generation, err error) {
	i, err := r.Memory.Installed(u.Component)
	if err != nil {
		return 0, nil, err
	}
	switch p := i.Parked; {
	case p != nil && p.Repair == u.Repair && u.Repair != engine.RepairHere && !runs: // at the device every one has the same number
		parked = p.Generation
	default:
		if parked, err = r.Choices.Park(ctx, u.Component); err != nil {
			return 0, nil, err
		}
		if parked == 0 && p != nil { // it was being replaced
			parked = p.Generation
		}
	}
	i.Held = slices.Clone(i.Held)
	for _, gen := range []state.Generation{parked, u.Restore} {
		if gen != 0 && !slices.Contains(i.Held, gen) {
			i.Held = append(i.Held, gen)
		}
	}
	i.Parked = &engine.Parked{Repair: u.Repair, Generation: parked}
	return parked, i.Held, r.Memory.Commit(u.Component, i)
}

// goOn takes what is there for what is installed, and starts it.
func (r *Recovery) goOn(ctx context.Context, h *updater.Client, u engine.Update, result, text string) error {
	u.To.Parked = nil
	if err := errors.Join(r.Pairs.Holds(u.Component, u.To), r.Memory.Commit(u.Component, u.To)); err != nil {
		return r.mended(ctx, u, engine.Inconsistent, "it cannot be noted what is installed", err)
	}
	delete(r.separate, u.Component)
	delete(r.settled, u.Component)
	if err := r.restart(ctx, h, u.Component); err != nil {
		return r.mended(ctx, u, engine.Inconsistent, text+", but it does not run; ask for another version, or choose another state", err)
	}
	return r.mended(ctx, u, result, text, nil)
}

// mended tells how it ended; not if the agent ends, which will be asked again.
func (r *Recovery) mended(ctx context.Context, u engine.Update, result, text string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		text += ": " + err.Error()
	}
	o := u.Ended(result, errors.New(text))
	r.Log.Warn("repair ended", "component", u.Component, "update", u.ID, "result", result, "found", text)
	return r.Memory.Report(o)
}
