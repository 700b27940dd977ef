package fleet

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/reported"
	"github.com/tranquil-iot/tranquil/sdk/schedule"
	"github.com/tranquil-iot/tranquil/sdk/window"
)

// wish is what is asked of a component, as its desired properties have it. The words are explained in backend/README.md.
type wish = map[string]any

// change has decide make a patch of what is asked of a component now, and of the component as the device reports it.
// Whoever changes the wish meanwhile makes it decide anew.
func (f *Fleet) change(ctx context.Context, action, id, name string, decide func(now wish, c Component) (wish, error)) error {
	if err := pack.CheckComponent(name); err != nil {
		return twin.ArgumentInvalid.With("%v", err)
	}
	for {
		d, err := f.Devices.Device(ctx, id)
		if err != nil {
			return err
		}
		components, _ := d.Twin.Desired.Values["components"].(map[string]any)
		now, _ := components[name].(map[string]any)
		patch, err := decide(now, overviewOf(d, name))
		if err != nil {
			return err
		}
		p := iothub.TwinPatch{Desired: map[string]any{"components": map[string]any{name: patch}}}
		detail := map[string]any{"component": name, "wish": patch}
		err = f.Ledger.Change(ctx, action, id, detail, func() error {
			_, err := f.Hub.PatchTwin(ctx, id, p, d.Twin.ETag())
			return err
		})
		if iothub.IsConflict(err) {
			continue
		}
		return err
	}
}

func overviewOf(d twin.Device, name string) Component {
	for _, c := range Overview(d, time.Now()).Components {
		if c.Name == name {
			return c
		}
	}
	return Component{Name: name}
}

// drop has null stand for what was there before and is to go.
func drop(patch, now wish, keys ...string) {
	for _, key := range keys {
		if now[key] != nil {
			patch[key] = nil
		}
	}
}

// again is the number of the next attempt.
func again(now wish) int64 { return number(now["attempt"]) + 1 }

// number is what stands in a document as a number, 0 if none does.
func number(v any) int64 {
	switch n := v.(type) {
	case json.Number:
		i, _ := strconv.ParseInt(n.String(), 10, 64) // else it is none
		return i
	case float64:
		return int64(n)
	}
	return 0
}

// A Push asks for a version of a component.
type Push struct {
	Component string `json:"component"`
	Version   string `json:"version"`
	Now       bool   `json:"now,omitempty"`   // do not wait for the maintenance window
	Again     bool   `json:"again,omitempty"` // try anew what has failed
}

// Push asks a device for a version.
func (f *Fleet) Push(ctx context.Context, id string, p Push) error {
	if err := pack.CheckVersion(p.Version); err != nil {
		return twin.ArgumentInvalid.With("%v", err)
	}
	return f.change(ctx, "update.push", id, p.Component, func(now wish, _ Component) (wish, error) {
		patch := wish{"version": p.Version}
		drop(patch, now, "remove", "now", "state", "package") // they were about another version
		if p.Now {
			patch["now"] = p.Version
		}
		if p.Again {
			patch["attempt"] = again(now)
		}
		return patch, nil
	})
}

// A Result is what became of one device of several.
type Result struct {
	Device string `json:"device"`
	Error  string `json:"error,omitempty"` // "" if it is done
}

// PushAll asks each of several devices for a version; those that cannot be asked do not keep it from the others.
func (f *Fleet) PushAll(ctx context.Context, ids []string, p Push) []Result {
	results := []Result{}
	for _, id := range ids {
		r := Result{Device: id}
		if err := f.Push(ctx, id, p); err != nil {
			_, r.Error = Refusal(err)
		}
		results = append(results, r)
	}
	return results
}

// Terms say when a component may be updated; "" is no longer any.
type Terms struct {
	Check   *string `json:"check,omitempty"`   // cron expression by which it looks for newer versions
	Window  *string `json:"window,omitempty"`  // maintenance window, as in "Mon-Fri 01:00-04:30 Europe/Zurich", or "closed"
	Consent *bool   `json:"consent,omitempty"` // whether each update waits for consent
}

// Schedule sets those of the terms that are there.
func (f *Fleet) Schedule(ctx context.Context, id, name string, t Terms) error {
	patch := wish{}
	if t.Check != nil {
		if err := schedule.Check(*t.Check); err != nil {
			return twin.ArgumentInvalid.With("%v", err)
		}
		patch["check"] = orNull(*t.Check)
	}
	if t.Window != nil {
		if _, err := window.Parse(*t.Window); err != nil && *t.Window != "" {
			return twin.ArgumentInvalid.With("%v", err)
		}
		patch["window"] = orNull(*t.Window)
	}
	if t.Consent != nil {
		patch["consent"] = map[bool]any{true: "ask", false: nil}[*t.Consent]
	}
	if len(patch) == 0 {
		return twin.ArgumentInvalid.With("nothing to set: give check, window or consent")
	}
	return f.change(ctx, "update.schedule", id, name, func(wish, Component) (wish, error) { return patch, nil })
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// Consent lets the update that waits begin.
func (f *Fleet) Consent(ctx context.Context, id, name string) error {
	return f.answer(ctx, "update.consent", id, name, func(u *reported.Update) (wish, error) {
		if u.Phase == "execution" || u.Phase == "transformation" {
			return nil, twin.ArgumentInvalid.With("the update has begun already")
		}
		return wish{"consented": u.ID}, nil
	})
}

// Cancel has the update that is under way turn back, or not begin.
func (f *Fleet) Cancel(ctx context.Context, id, name string) error {
	return f.answer(ctx, "update.cancel", id, name, func(u *reported.Update) (wish, error) { return wish{"refused": u.ID}, nil })
}

func (f *Fleet) answer(ctx context.Context, action, id, name string, decide func(*reported.Update) (wish, error)) error {
	return f.change(ctx, action, id, name, func(_ wish, c Component) (wish, error) {
		if !c.Update.Going() {
			return nil, twin.ArgumentInvalid.With("no update of %s is under way on %s", name, id)
		}
		return decide(c.Update)
	})
}

// Rollback asks for the version before, with its state by the way that the device has told.
func (f *Fleet) Rollback(ctx context.Context, id, name string) error {
	return f.change(ctx, "update.rollback", id, name, func(now wish, c Component) (wish, error) {
		switch {
		case c.Previous == nil:
			return nil, twin.ArgumentInvalid.With("%s reports no version of %s from before", id, name)
		case c.Previous.Way == "none":
			return nil, twin.ArgumentInvalid.With("there is no way back to %s: %s", c.Previous.Version, c.Previous.Note)
		}
		patch := wish{"version": c.Previous.Version, "attempt": again(now), "state": "transform"}
		drop(patch, now, "package", "remove")
		if c.Previous.Way == "saved state" {
			patch["state"] = "saved"
		}
		return patch, nil
	})
}

// Remove takes a component off a device; its last state is kept unless purged.
func (f *Fleet) Remove(ctx context.Context, id, name string, purge bool) error {
	return f.change(ctx, "component.remove", id, name, func(now wish, c Component) (wish, error) {
		if c.Version == "" {
			return nil, twin.ArgumentInvalid.With("%s has no %s", id, name)
		}
		patch := wish{"remove": true, "attempt": again(now)}
		drop(patch, now, "version", "package", "state")
		if purge {
			patch["remove"] = "purge"
		}
		return patch, nil
	})
}

// Repair has an agent in safe mode set aside what it cannot read, and go on.
func (f *Fleet) Repair(ctx context.Context, id string) error {
	d, err := f.Devices.Device(ctx, id)
	if err != nil {
		return err
	}
	next := max(number(d.Twin.Desired.Values["repair"]), number(d.Twin.Reported.Values["repaired"])) + 1
	return f.Ledger.Change(ctx, "device.repair", id, map[string]any{"number": next}, func() error {
		_, err := f.Hub.PatchTwin(ctx, id, iothub.TwinPatch{Desired: map[string]any{"repair": next}}, "")
		return err
	})
}

// Mend has a component, whose version and state do not belong together, go on with the state of a generation, or with
// "keep" with the one that it has.
func (f *Fleet) Mend(ctx context.Context, id, name, state string) error {
	return f.change(ctx, "component.repair", id, name, func(now wish, c Component) (wish, error) {
		var with any = state
		if state != "keep" {
			generation, err := strconv.ParseInt(state, 10, 64)
			if _, saved := c.States[state]; !saved || err != nil {
				return nil, twin.ArgumentInvalid.With("%s of %s has no saved state %.40q: give the generation of one, or keep", name, id, state)
			}
			with = generation
		}
		before, _ := now["repair"].(map[string]any)
		return wish{"repair": wish{"number": max(number(before["number"]), c.Repaired) + 1, "state": with}}, nil
	})
}
