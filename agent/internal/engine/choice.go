package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A Choice is what an operator decides of a component that stays stopped, or
// has ended inconsistent: which state it goes on with.
type Choice struct {
	Restore state.Generation // 0: the one that it has
}

// keepState is the word for the state that a component has.
const keepState = "keep"

// ParseChoice reads "keep", or the number of a generation.
func ParseChoice(text string) (Choice, error) {
	if text == keepState {
		return Choice{}, nil
	}
	gen, err := strconv.ParseUint(text, 10, 63)
	if err != nil || gen == 0 {
		return Choice{}, fmt.Errorf("%q is neither %q nor the number of a saved state", text, keepState)
	}
	return Choice{state.Generation(gen)}, nil
}

// String is what [ParseChoice] reads.
func (c Choice) String() string {
	if c.Restore == 0 {
		return keepState
	}
	return strconv.FormatUint(uint64(c.Restore), 10)
}

// RepairHere is [Update.Repair] of a choice that was made at the device.
const RepairHere = -1

// A Saved is a saved state.
type Saved = state.Entry

// Offer makes a saved state ready to become that of an installed version, by
// [Engine.Reinstate]. The transforms may be in the package that the state is
// of, which is fetched again if need be. The error says why it cannot.
func (e *Engine) Offer(ctx context.Context, component string, i Installed, gen state.Generation) (Update, error) {
	u := Update{Component: component, From: i, To: i, Restore: gen}
	p, err := e.load(i.Digest)
	if err != nil {
		return u, err
	}
	_, meta, broken := e.States.Load(ctx, component, gen)
	if err = e.choose(ctx, &u, p, gen); err == nil || broken != nil || meta.Package == i.Digest {
		return u, err
	}
	u.From = Installed{Version: meta.Version, Schema: meta.Schema, Digest: meta.Package}
	if _, err := e.Describe(ctx, component, u.From); err != nil {
		e.Log.Warn("the package of a saved state is incomplete", "component", component, "generation", gen, "error", err)
	}
	return u, e.choose(ctx, &u, p, gen)
}

// Park saves the live state of a component that does not run, as one of the
// version that it is of. Without error it returns 0 if nothing is to be kept:
// nobody knows whose the live state is, or a saved one was being handed over in
// its place.
func (e *Engine) Park(ctx context.Context, component string) (state.Generation, error) {
	m, found := e.Marks.Mark(component)
	if !found || m.Next != nil || m.Live.Schema == 0 {
		return 0, nil
	}
	u := &Update{Component: component, From: installed(m.Live)}
	h, err := e.updater(ctx, u)
	if err != nil {
		return 0, err
	}
	gen, err := e.States.Next(component)
	if err != nil {
		return 0, err
	}
	dir, err := e.States.Fresh(component, gen)
	if err != nil {
		return 0, err
	}
	if err = h.Save(ctx, updater.SaveRequest{Component: component, Dir: dir}); err == nil {
		err = e.seal(ctx, u, gen, u.From)
	}
	if err != nil {
		return 0, errors.Join(err, e.drop(u, gen))
	}
	return gen, nil
}
