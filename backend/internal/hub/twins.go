package hub

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// patchTwin applies the patch that decide makes of the present state, and appends the event.
func (h *Hub) patchTwin(ctx context.Context, id string, decide func(twin.Device) (twin.Patch, error)) (twin.Device, error) {
	return h.store.Update(ctx, id, func(d *twin.Device) (*twin.Event, error) {
		patch, err := decide(*d)
		if err == nil {
			patch.Reported, err = h.correct(d, patch.Reported)
		}
		if err != nil {
			return nil, err
		}
		return applyPatch(d, patch)
	})
}

// applyPatch changes the twin of a device, and answers the event of it, with those of updates that it tells of.
func applyPatch(d *twin.Device, patch twin.Patch) (*twin.Event, error) {
	now := time.Now().UTC()
	changed, change, err := d.Twin.Apply(patch, now)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	event := &twin.Event{Type: twin.TwinChanged, Device: d.ID, Time: now, Body: body}
	event.Then, err = progress(*event, d.Twin.Reported.Values, changed.Reported.Values, patch.Reported)
	d.Twin = changed
	return event, err
}

func (h *Hub) getTwin(w http.ResponseWriter, r *http.Request, _ right) error {
	d, err := h.store.Device(r.Context(), identity(r))
	if err != nil {
		return err
	}
	return h.writeTwin(w, r, d)
}

// getHistory answers how the updates of a device have ended (iothub.History).
func (h *Hub) getHistory(w http.ResponseWriter, r *http.Request, _ right) error {
	history, err := h.store.History(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, history)
}

// updateTwin merges tags and desired properties.
func (h *Hub) updateTwin(w http.ResponseWriter, r *http.Request, _ right) error {
	return h.changeTwin(w, r, func(_ twin.Device, tags, desired map[string]any) twin.Patch {
		return twin.Patch{Tags: tags, Desired: desired}
	})
}

// replaceTwin sets tags and desired properties to exactly what the body has; a part that the body leaves out stays.
func (h *Hub) replaceTwin(w http.ResponseWriter, r *http.Request, _ right) error {
	return h.changeTwin(w, r, func(d twin.Device, tags, desired map[string]any) twin.Patch {
		return d.Twin.Replace(tags, desired)
	})
}

func (h *Hub) changeTwin(
	w http.ResponseWriter, r *http.Request, patch func(d twin.Device, tags, desired map[string]any) twin.Patch,
) error {
	body, err := readObject(r)
	if err != nil {
		return err
	}
	tags, desired, err := halves(body)
	if err != nil {
		return err
	}
	d, err := h.patchTwin(r.Context(), identity(r), func(d twin.Device) (twin.Patch, error) {
		return patch(d, tags, desired), matchETag(ifMatch(r), twinETag(d))
	})
	if err != nil {
		return err
	}
	return h.writeTwin(w, r, d)
}

// halves are what the back end may change of a twin.
func halves(body map[string]any) (tags, desired map[string]any, err error) {
	tags, err = part(body, "tags")
	if err != nil {
		return nil, nil, err
	}
	properties, err := part(body, "properties")
	if err != nil {
		return nil, nil, err
	}
	desired, err = part(properties, "desired")
	return tags, desired, err
}

// part is the object under key, nil if there is none.
func part(object map[string]any, key string) (map[string]any, error) {
	value, ok := object[key]
	if !ok || value == nil {
		return nil, nil
	}
	inner, ok := value.(map[string]any)
	if !ok {
		return nil, twin.ArgumentInvalid.With("%s is not an object", key)
	}
	return inner, nil
}

func (h *Hub) writeTwin(w http.ResponseWriter, r *http.Request, d twin.Device) error {
	queued, err := h.store.Queued(r.Context(), d.ID)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", `"`+twinETag(d)+`"`)
	return writeJSON(w, http.StatusOK, h.twinDocument(d, queued[d.ID]))
}
