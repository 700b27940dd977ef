package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Marks are the durable notes of whose state the live one of a component is.
// They outlive the journal; *[state.Manager] keeps them.
type Marks interface {
	SetMark(component string, m state.Mark) error
	Mark(component string) (m state.Mark, found bool)
}

func (i Installed) holder() state.Holder {
	return state.Holder{Version: i.Version, Schema: i.Schema, Package: i.Digest, Handle: i.Handle}
}

func installed(h state.Holder) Installed {
	return Installed{Version: h.Version, Schema: h.Schema, Digest: h.Package, Handle: h.Handle}
}

// Holds notes that the live state of a component is that of a version, unless
// that is noted already.
func (e *Engine) Holds(component string, i Installed) error {
	want := i.holder()
	if m, found := e.Marks.Mark(component); found && m.Next == nil && same(m.Live, want) {
		return nil
	}
	return e.Marks.SetMark(component, state.Mark{Live: want})
}

func same(a, b state.Holder) bool {
	return a.Version == b.Version && a.Schema == b.Schema && a.Package == b.Package &&
		a.Handle.Version == b.Handle.Version && string(a.Handle.Data) == string(b.Handle.Data)
}

// hand is handOver, and notes afterwards that it is done.
func (e *Engine) hand(ctx context.Context, u *Update, gen state.Generation, of Installed) error {
	if err := e.handOver(ctx, u, gen, of); err != nil {
		return err
	}
	return e.Holds(u.Component, of)
}

// handOver hands a generation to the updater as the state of a version. That
// this begins is noted before; until it is noted that it is done,
// [Engine.Reunite] does it again, which is no harm. Of a generation that is not
// whole the updater may have kept the original.
func (e *Engine) handOver(ctx context.Context, u *Update, gen state.Generation, of Installed) error {
	s, err := e.updater(ctx, u)
	if err != nil {
		return err
	}
	dir, _, broken := e.States.Load(ctx, u.Component, gen)
	if ctx.Err() != nil {
		return context.Cause(ctx) // nothing was found out
	}
	moved := errors.Is(broken, state.ErrMoved)
	if broken != nil && !moved && !s.Capabilities().Origin {
		return broken
	}
	m, found := e.Marks.Mark(u.Component)
	next := of.holder()
	noted := m.Next != nil && m.Generation == gen && same(*m.Next, next) // by a try before
	if !noted {
		if err := e.Marks.SetMark(u.Component, state.Mark{Live: m.Live, Next: &next, Generation: gen}); err != nil {
			return err
		}
	}
	if broken == nil || moved {
		err = s.Apply(ctx, updater.ApplyRequest{Component: u.Component, Dir: dir})
	}
	if broken != nil && (!moved || err != nil && s.Capabilities().Origin) {
		err = s.TakeBack(ctx, updater.TakeBackRequest{Component: u.Component, Dir: dir})
		e.Log.Warn("saved state cannot be used; the updater is asked for the original", "component", u.Component, "generation", gen, "cause", broken, "error", err)
	}
	switch {
	case err != nil && found && !noted && broken != nil && !moved && errors.Is(err, errors.ErrUnsupported): // nothing has changed
		return errors.Join(broken, e.Marks.SetMark(u.Component, m))
	case err != nil && broken != nil:
		return fmt.Errorf("%w: %w", broken, err)
	}
	return err
}

// remember notes whose the live state is, as far as the journal tells, if no
// mark does: once the journal has ended nobody else can.
func (e *Engine) remember(r Record) error {
	u := &r.Update
	if !u.saves() {
		return nil
	}
	if _, found := e.Marks.Mark(u.Component); found {
		return nil
	}
	m := r.mark()
	if m.Next == nil && same(m.Live, u.From.holder()) {
		return nil // what is installed holds it, which nobody doubts
	}
	e.Log.Error("the mark of the live state is gone; the journal tells", "component", u.Component, "version", m.Live.Version, "step", r.Step, "back", r.Back)
	err := e.Marks.SetMark(u.Component, m)
	if _, found := e.Marks.Mark(u.Component); !found {
		return Wait{For: fmt.Sprintf("a disk that takes the note whose state %s has (%v)", u.Component, err)}
	}
	return nil
}

// mark tells whose the live state is from how far an update has come.
func (r Record) mark() state.Mark {
	u := &r.Update
	from, to := u.From.holder(), u.To.holder()
	handed := "apply"
	if !u.transforms() && !u.empties() {
		handed = pointOfNoReturn
	}
	steps := (*Engine)(nil).steps()
	place := func(name string) int {
		return slices.IndexFunc(steps, func(s Step) bool { return s.Name == name })
	}
	switch at, change := place(r.Step), place(handed); {
	case at < change:
		return state.Mark{Live: from}
	case at > change || handed != "apply":
		return state.Mark{Live: to}
	case r.Back:
		return state.Mark{Next: &from, Generation: u.Saved}
	}
	return state.Mark{Live: from, Next: &to, Generation: u.New}
}

// Agree returns why a version must not start, if it is known that the live
// state is of another one. Nothing is changed.
func (e *Engine) Agree(component, version string) error {
	m, found := e.Marks.Mark(component)
	switch {
	case !found:
		return nil
	case m.Next != nil:
		return fmt.Errorf("an update was cut off while generation %d was handed over as the state of version %s", m.Generation, m.Next.Version)
	case m.Live.Version != "" && m.Live.Version != version:
		return fmt.Errorf("the updater has version %s, but the live state is of version %s", version, m.Live.Version)
	}
	return nil
}

// Reunite brings the version that the updater has and the live state together,
// where no journal tells of the update that was cut off between them: it hands
// over what was being handed over, and switches to the version that the state
// is of. It tells what it did, "" if they belong together or if nothing is
// known of the state. A component that runs is left alone. The error names
// what the operator has to do before the component can start.
func (e *Engine) Reunite(ctx context.Context, component string) (of Installed, done string, err error) {
	m, found := e.Marks.Mark(component)
	u := &Update{Component: component}
	h, err := e.updater(ctx, u)
	if err != nil || !found || !h.Capabilities().Status || !h.Capabilities().State {
		return of, "", err
	}
	status, err := h.Status(ctx, updater.StatusRequest{Component: component})
	switch {
	case err != nil:
		return of, "", err
	case m.Next == nil && m.Live.Version == status.Version:
		return installed(m.Live), "", nil
	case status.Running && m.Next != nil && m.Next.Version == status.Version:
		of = installed(*m.Next) // it was started, and so after the hand-over
		return of, "", e.Holds(component, of)
	case status.Running || m.Next == nil && m.Live.Version == "":
		return of, "", nil
	}
	if m.Next != nil {
		if err := e.hand(ctx, u, m.Generation, installed(*m.Next)); err != nil {
			return of, "", fmt.Errorf("an update was cut off while generation %d was handed over as the state of version %s, and it cannot be handed over now: %w; see to that and repair again, or decide with which state it goes on (tranquil repair DEVICE %s --keep or --restore GENERATION)",
				m.Generation, m.Next.Version, err, component)
		}
		m.Live = *m.Next
		done = fmt.Sprintf("generation %d was handed over as the state of version %s", m.Generation, m.Live.Version)
	}
	of = installed(m.Live)
	if m.Live.Version == status.Version {
		return of, done, nil
	}
	if err := e.goTo(ctx, h, u, of); err != nil {
		return of, "", fmt.Errorf("the updater has version %s, but the live state is of version %s with schema %d, which cannot be switched to: %w; publish that version and repair again, or decide with which state it goes on (tranquil repair DEVICE %s --keep or --restore GENERATION)",
			status.Version, of.Version, of.Schema, err, component)
	}
	return of, fmt.Sprintf("the updater had version %s, but the live state is of version %s, which was switched to", status.Version, of.Version), nil
}

// goTo switches to a version that is staged, or is staged again.
func (e *Engine) goTo(ctx context.Context, h *updater.Client, u *Update, of Installed) error {
	err := h.Switch(ctx, updater.SwitchRequest{Component: u.Component, Handle: of.Handle})
	if err == nil {
		return nil
	}
	if _, again := e.Repair(ctx, u.Component, of); again != nil {
		return errors.Join(err, again)
	}
	return nil
}
