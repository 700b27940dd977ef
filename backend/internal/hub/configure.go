package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// serveConfigurations has devices get what configurations want of them, whenever one of either changes, until ctx is
// done. The hub that leads does it; another one that begins to lead looks at all devices anew.
func (h *Hub) serveConfigurations(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	if err := h.store.DocumentsChange(ctx, "configurations", changed); err != nil {
		return err
	}
	devices := make(chan twin.Device)
	return runAll(ctx,
		func(ctx context.Context) error {
			for _, d := range h.store.Changed(ctx) {
				if d == nil || strings.Contains(d.ID, "/") {
					continue
				}
				select {
				case devices <- *d:
				case <-ctx.Done():
				}
			}
			return nil
		},
		func(ctx context.Context) error { return h.configureAll(ctx, changed, devices) },
	)
}

func (h *Hub) configureAll(ctx context.Context, changed <-chan struct{}, devices <-chan twin.Device) error {
	ticker := time.NewTicker(peerPause)
	defer ticker.Stop()
	var all []configuration
	current := false // all is what there is, and every device has been looked at
	for {
		if !current && h.leads.Load() {
			var err error
			if all, err = h.configurations(ctx); err == nil {
				err = h.configureEach(ctx, all)
			}
			h.report(ctx, err)
			current = err == nil
		}
		select {
		case d := <-devices:
			if current {
				h.report(ctx, h.configure(ctx, d, all))
			}
		case <-changed:
			current = false
		case <-ticker.C:
			current = current && h.leads.Load()
		case <-ctx.Done():
			return nil
		}
	}
}

func (h *Hub) configureEach(ctx context.Context, all []configuration) error {
	for d, err := range h.store.Devices(ctx) {
		if err == nil {
			err = h.configure(ctx, d, all)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errAsWanted = errors.New("the device is as it should be")

// configure has a device be as configurations want it.
func (h *Hub) configure(ctx context.Context, d twin.Device, all []configuration) error {
	if len(all) == 0 && len(d.Applied) == 0 && len(d.Configurations) == 0 {
		return nil
	}
	if p := h.planFor(d, all); p.done(d) {
		return nil
	}
	_, err := h.store.Update(ctx, d.ID, func(d *twin.Device) (*twin.Event, error) {
		p := h.planFor(*d, all)
		if p.done(*d) {
			return nil, errAsWanted
		}
		d.Applied, d.Configurations = p.applied, p.status
		if len(p.patch) == 0 {
			return nil, nil
		}
		return applyPatch(d, twin.Patch{Desired: p.patch})
	})
	if refused, ok := errors.AsType[*twin.Error](err); ok && !errors.Is(err, twin.DeviceNotFound) {
		h.log.Warn("a device cannot be configured", "device", d.ID, "cause", refused)
		return nil
	}
	if errors.Is(err, errAsWanted) || errors.Is(err, twin.DeviceNotFound) {
		return nil
	}
	return err
}

// plan is what to do to a device, so that it is as configurations want it.
type plan struct {
	patch   map[string]any    // of desired properties
	applied map[string]string // path → configuration
	status  map[string]string // configuration → Applied, or Targeted if others have set all that it wants
}

func (p plan) done(d twin.Device) bool {
	return len(p.patch) == 0 && maps.Equal(p.applied, d.Applied) && maps.Equal(p.status, d.Configurations)
}

// planFor compares a device with what configurations want of it, of which the first has the say.
func (h *Hub) planFor(d twin.Device, all []configuration) plan {
	p := plan{map[string]any{}, map[string]string{}, map[string]string{}}
	document := h.twinDocument(d, 0)
	wanted := map[string]any{}
	for _, c := range all {
		if !c.condition.Matches(document) {
			continue
		}
		p.status[c.ID] = "Targeted"
		for path, value := range c.Content.Device {
			if !clashes(path, wanted) {
				wanted[path], p.applied[path] = value, c.ID
			}
		}
		if len(c.Content.Device) == 0 || uses(p.applied, c.ID) {
			p.status[c.ID] = "Applied"
		}
	}
	for path := range d.Applied {
		if !within(path, wanted) {
			p.set(d, path, below(path, wanted))
		}
	}
	for path, value := range wanted {
		p.set(d, path, value)
	}
	return p
}

// set has the property at a path become exactly value, nil for none.
func (p plan) set(d twin.Device, path string, value any) {
	have := at(d.Twin.Desired.Values, path)
	if sameJSON(have, value) {
		return
	}
	old, isObject := have.(map[string]any)
	object, staysObject := value.(map[string]any)
	if isObject && staysObject {
		value = twin.Replacement(old, object)
	}
	setAt(p.patch, path, value)
}

// within tells whether a path is one of others, or leads through one.
func within(path string, others map[string]any) bool {
	for other := range others {
		if strings.HasPrefix(path+".", other+".") {
			return true
		}
	}
	return false
}

// below is the object that paths below a path make, nil if there are none.
func below(path string, others map[string]any) any {
	all := map[string]any{}
	for other, value := range others {
		if strings.HasPrefix(other, path+".") {
			setAt(all, other, value)
		}
	}
	return at(all, path)
}

// clashes tells whether a path is one of others, or leads into one or through one.
func clashes(path string, others map[string]any) bool {
	return within(path, others) || below(path, others) != nil
}

func uses(applied map[string]string, id string) bool {
	for _, by := range applied {
		if by == id {
			return true
		}
	}
	return false
}

func sameJSON(a, b any) bool {
	one, err := json.Marshal(a)
	other, err2 := json.Marshal(b)
	return err == nil && err2 == nil && bytes.Equal(one, other)
}
