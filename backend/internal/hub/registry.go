package hub

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// maxList is how many devices one list shows: Azure's.
const maxList = 1000

// putDevice creates a device, or with If-Match updates its status and keys.
func (h *Hub) putDevice(w http.ResponseWriter, r *http.Request, allowed right) error {
	id := r.PathValue("id")
	doc, err := readDevice(r, id)
	if err != nil {
		return err
	}
	if ifMatch(r) == "" {
		return h.createDevice(w, r, id, doc)
	}
	d, err := h.store.Update(r.Context(), id, func(d *twin.Device) (*twin.Event, error) {
		if err := checkETag(r, deviceETag(*d)); err != nil {
			return nil, err
		}
		d.Revision++
		applyDevice(d, doc, time.Now().UTC())
		return nil, nil
	})
	if err != nil {
		return err
	}
	if d.Disabled {
		h.kick(id)
	}
	return writeJSON(w, http.StatusOK, h.deviceDocument(d, allowed))
}

func (h *Hub) createDevice(w http.ResponseWriter, r *http.Request, id string, doc iothub.Device) error {
	now := time.Now().UTC()
	d := twin.New(id, now)
	d.Keys = twin.Keys{Primary: newKey(), Secondary: newKey()}
	applyDevice(&d, doc, now)
	if err := h.store.Create(r.Context(), d, &twin.Event{Type: twin.Created, Device: id, Time: now}); err != nil {
		return err
	}
	h.log.Info("device is created", "device", id)
	return writeJSON(w, http.StatusOK, h.deviceDocument(d, registryWrite))
}

// readDevice reads and checks the body; what it does not say is empty.
func readDevice(r *http.Request, id string) (iothub.Device, error) {
	var doc iothub.Device
	if err := twin.CheckID(id); err != nil {
		return doc, err
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return doc, err
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return doc, twin.Malformed.With("not a device: %v", err)
	}
	if doc.DeviceID != "" && doc.DeviceID != id {
		return doc, twin.ArgumentInvalid.With("deviceId differs from the path")
	}
	if doc.Status != "" && doc.Status != "enabled" && doc.Status != "disabled" {
		return doc, twin.ArgumentInvalid.With("status must be enabled or disabled")
	}
	if kind := doc.Authentication.Type; kind != "" && kind != "sas" {
		return doc, twin.ArgumentInvalid.With("authentication type must be sas")
	}
	for _, key := range []string{doc.Authentication.SymmetricKey.PrimaryKey, doc.Authentication.SymmetricKey.SecondaryKey} {
		if key == "" {
			continue
		}
		if err := twin.CheckKey(key); err != nil {
			return doc, err
		}
	}
	return doc, nil
}

// applyDevice takes over what doc says; empty parts leave d as it is.
func applyDevice(d *twin.Device, doc iothub.Device, now time.Time) {
	if disabled := doc.Status == "disabled"; doc.Status != "" && disabled != d.Disabled {
		d.Disabled, d.StatusUpdated = disabled, now
	}
	d.StatusReason = cmp.Or(doc.StatusReason, d.StatusReason)
	d.Keys.Primary = cmp.Or(doc.Authentication.SymmetricKey.PrimaryKey, d.Keys.Primary)
	d.Keys.Secondary = cmp.Or(doc.Authentication.SymmetricKey.SecondaryKey, d.Keys.Secondary)
}

func (h *Hub) getDevice(w http.ResponseWriter, r *http.Request, allowed right) error {
	d, err := h.store.Device(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, h.deviceDocument(d, allowed))
}

func (h *Hub) deleteDevice(w http.ResponseWriter, r *http.Request, _ right) error {
	id := r.PathValue("id")
	err := h.store.Delete(r.Context(), id, func(d twin.Device) (*twin.Event, error) {
		return &twin.Event{Type: twin.Deleted, Device: id, Time: time.Now().UTC()}, checkETag(r, deviceETag(d))
	})
	if err != nil {
		return err
	}
	h.kick(id)
	h.log.Info("device is deleted", "device", id)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Hub) listDevices(w http.ResponseWriter, r *http.Request, allowed right) error {
	list := []iothub.Device{}
	for d, err := range h.store.Devices(r.Context()) {
		if err != nil {
			return err
		}
		list = append(list, h.deviceDocument(d, allowed))
	}
	slices.SortFunc(list, func(a, b iothub.Device) int { return cmp.Compare(a.DeviceID, b.DeviceID) })
	return writeJSON(w, http.StatusOK, list[:min(len(list), maxList)])
}

func (h *Hub) countDevices(w http.ResponseWriter, r *http.Request, _ right) error {
	var count struct {
		Total    int `json:"totalDeviceCount"`
		Enabled  int `json:"enabledDeviceCount"`
		Disabled int `json:"disabledDeviceCount"`
	}
	for d, err := range h.store.Devices(r.Context()) {
		if err != nil {
			return err
		}
		count.Total++
		if d.Disabled {
			count.Disabled++
		}
	}
	count.Enabled = count.Total - count.Disabled
	return writeJSON(w, http.StatusOK, count)
}

func (h *Hub) countConnections(w http.ResponseWriter, _ *http.Request, _ right) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return writeJSON(w, http.StatusOK, map[string]int{"connectedDeviceCount": len(h.sessions)})
}
