package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/reported"
)

// DefaultGrace is by how much an update may be late: what devices announce are predictions.
const DefaultGrace = 5 * time.Minute

// overdueLook is how often the hub looks whether an update is overdue.
const overdueLook = time.Second

// awaitUpdates has devices be broken, by their twins, whose updates are overdue: one that has died in the middle will not
// say so. The hub that leads does it. It ends when ctx is done.
func (h *Hub) awaitUpdates(ctx context.Context) error {
	var mu sync.Mutex
	deadlines := map[string]time.Time{}
	return runAll(ctx,
		func(ctx context.Context) error {
			for id, d := range h.store.Changed(ctx) {
				mu.Lock()
				delete(deadlines, id)
				if d != nil && d.Overdue == nil {
					if _, until := awaited(d.Twin.Reported.Values); !until.IsZero() {
						deadlines[id] = until.Add(h.grace)
					}
				}
				mu.Unlock()
			}
			return nil
		},
		func(ctx context.Context) error {
			for ; ctx.Err() == nil; pause(ctx, overdueLook) {
				if !h.leads.Load() {
					continue
				}
				mu.Lock()
				now, late := time.Now(), []string{}
				for id, at := range deadlines {
					if now.After(at) {
						late = append(late, id)
					}
				}
				mu.Unlock()
				for _, id := range late {
					h.report(ctx, h.giveUp(ctx, id))
				}
			}
			return nil
		},
	)
}

// awaited is the component whose update under way is to be over first, and when; the zero time if there is none that says.
func awaited(properties map[string]any) (component string, first time.Time) {
	components, _ := properties["components"].(map[string]any)
	for name, of := range components {
		fields, _ := of.(map[string]any)
		update, _ := fields["update"].(map[string]any)
		text, _ := update["unavailableUntil"].(string)
		until, err := time.Parse(time.RFC3339, text)
		if err != nil || update["result"] != nil || !first.IsZero() && !until.Before(first) {
			continue
		}
		component, first = name, until
	}
	return component, first
}

// overdue is nil if no update is.
func (h *Hub) overdue(properties map[string]any) *twin.Overdue {
	component, until := awaited(properties)
	if until.IsZero() || time.Since(until) <= h.grace {
		return nil
	}
	return &twin.Overdue{Component: component, Until: until, Said: properties["state"]}
}

var errInTime = errors.New("no update is overdue, or it is known")

// giveUp says of a device that it is broken, if it is still overdue.
func (h *Hub) giveUp(ctx context.Context, id string) error {
	d, err := h.store.Update(ctx, id, func(d *twin.Device) (*twin.Event, error) {
		late := h.overdue(d.Twin.Reported.Values)
		if late == nil || d.Overdue != nil {
			return nil, errInTime
		}
		event, err := applyPatch(d, twin.Patch{Reported: map[string]any{"state": reported.Malfunction}})
		if errors.Is(err, twin.TooLarge) { // what a device reports can fill its twin: it is broken all the same
			late.Full, event, err = true, &twin.Event{Type: twin.UpdateOverdue, Device: id, Time: time.Now().UTC()}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", id, err)
		}
		d.Overdue = late
		body, err := json.Marshal(iothub.UpdateEvent{Component: late.Component, Outcome: reported.Outcome{Update: updatesOf(d.Twin.Reported.Values, late.Component).Update}})
		if late.Full {
			event.Body = body
		} else {
			event.Then = append(event.Then, twin.Event{Type: twin.UpdateOverdue, Device: id, Time: event.Time, Body: body})
		}
		return event, err
	})
	if errors.Is(err, errInTime) || errors.Is(err, twin.DeviceNotFound) {
		return nil
	}
	if err == nil {
		h.log.Warn("an update is overdue, its device is taken for broken", "device", id, "component", d.Overdue.Component, "until", d.Overdue.Until)
	}
	return err
}

// correct has what a device reports not hide that an update of it is overdue, and gives it its own state back when none is
// any more: it has ended, or the device says a later time.
func (h *Hub) correct(d *twin.Device, patch map[string]any) (map[string]any, error) {
	if d.Overdue == nil || patch == nil {
		return patch, nil
	}
	changed, _, err := d.Twin.Apply(twin.Patch{Reported: patch}, time.Now())
	if err != nil {
		return nil, err
	}
	if d.Overdue.Full {
		if d.Overdue = h.overdue(changed.Reported.Values); d.Overdue != nil {
			d.Overdue.Full = true
		}
		return patch, nil
	}
	patch = maps.Clone(patch)
	said, says := patch["state"]
	if !says {
		said = d.Overdue.Said
	}
	if d.Overdue = h.overdue(changed.Reported.Values); d.Overdue != nil {
		d.Overdue.Said, said = said, reported.Malfunction
	}
	patch["state"] = said
	return patch, nil
}
