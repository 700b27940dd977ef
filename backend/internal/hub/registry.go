package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// maxList is how many devices one list shows: Azure's.
const maxList = 1000

// putDevice creates a device or a module, or with If-Match updates its status and how it proves who it is.
func (h *Hub) putDevice(w http.ResponseWriter, r *http.Request, allowed right) error {
	var doc iothub.Device
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return twin.Malformed.With("not a device: %v", err)
	}
	id := identity(r)
	device, module := twin.Split(id)
	if cmp.Or(doc.DeviceID, device) != device || cmp.Or(doc.ModuleID, module) != module {
		return twin.ArgumentInvalid.With("deviceId or moduleId differs from the path")
	}
	doc.DeviceID, doc.ModuleID = device, module
	var d twin.Device
	if wanted := ifMatch(r); wanted == "" {
		d, err = h.createDevice(r.Context(), doc, nil)
	} else {
		d, err = h.updateDevice(r.Context(), doc, wanted)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, h.deviceDocument(d, nil, allowed))
}

// createDevice registers a device or a module, which needs its device.
func (h *Hub) createDevice(ctx context.Context, doc iothub.Device, patch *twin.Patch) (twin.Device, error) {
	id := username{doc.DeviceID, doc.ModuleID}.id()
	if err := checkDevice(doc); err != nil {
		return twin.Device{}, err
	}
	if doc.ModuleID != "" {
		if _, err := h.store.Device(ctx, doc.DeviceID); err != nil {
			return twin.Device{}, err
		}
	}
	now := time.Now().UTC()
	d := twin.New(id, now)
	applyDevice(&d, doc, now)
	if patch != nil {
		var err error
		if d.Twin, _, err = d.Twin.Apply(*patch, now); err != nil {
			return twin.Device{}, err
		}
	}
	if err := h.store.Create(ctx, d, &twin.Event{Type: twin.Created, Device: id, Time: now}); err != nil {
		return twin.Device{}, err
	}
	h.log.Info("device is created", "device", id)
	return d, nil
}

// updateDevice changes status and authentication; etag is as in If-Match.
func (h *Hub) updateDevice(ctx context.Context, doc iothub.Device, etag string) (twin.Device, error) {
	if err := checkDevice(doc); err != nil {
		return twin.Device{}, err
	}
	return h.store.Update(ctx, username{doc.DeviceID, doc.ModuleID}.id(), func(d *twin.Device) (*twin.Event, error) {
		if err := matchETag(etag, deviceETag(*d)); err != nil {
			return nil, err
		}
		d.Revision++
		applyDevice(d, doc, time.Now().UTC())
		return nil, nil
	})
}

func checkDevice(doc iothub.Device) error {
	errs := []error{twin.CheckID(doc.DeviceID)}
	if doc.ModuleID != "" {
		errs = append(errs, twin.CheckID(doc.ModuleID))
	}
	if doc.Status != "" && doc.Status != "enabled" && doc.Status != "disabled" {
		errs = append(errs, twin.ArgumentInvalid.With("status must be enabled or disabled"))
	}
	if doc.Capabilities.IoTEdge {
		errs = append(errs, twin.ArgumentInvalid.With("this hub has no edge devices"))
	}
	a := doc.Authentication
	switch a.Type {
	case "", twin.ByKey, twin.ByThumbprint, twin.ByCertificate, twin.ByNothing:
	default:
		errs = append(errs, twin.ArgumentInvalid.With("authentication type must be sas, selfSigned, certificateAuthority or none"))
	}
	check := func(text string, rule func(string) error) {
		if text != "" {
			errs = append(errs, rule(text))
		}
	}
	check(a.SymmetricKey.PrimaryKey, twin.CheckKey)
	check(a.SymmetricKey.SecondaryKey, twin.CheckKey)
	check(a.X509Thumbprint.Primary, twin.CheckThumbprint)
	check(a.X509Thumbprint.Secondary, twin.CheckThumbprint)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// applyDevice takes over what doc says; empty parts leave d as it is. Who proves himself by keys has two.
func applyDevice(d *twin.Device, doc iothub.Device, now time.Time) {
	if disabled := doc.Status == "disabled"; doc.Status != "" && disabled != d.Disabled {
		d.Disabled, d.StatusUpdated = disabled, now
	}
	d.StatusReason = cmp.Or(doc.StatusReason, d.StatusReason)
	a := doc.Authentication
	d.Authentication = cmp.Or(a.Type, d.Authentication)
	if way(*d) == twin.ByKey {
		d.Keys.Primary = cmp.Or(a.SymmetricKey.PrimaryKey, d.Keys.Primary, newKey())
		d.Keys.Secondary = cmp.Or(a.SymmetricKey.SecondaryKey, d.Keys.Secondary, newKey())
	}
	d.Thumbprints.Primary = cmp.Or(a.X509Thumbprint.Primary, d.Thumbprints.Primary)
	d.Thumbprints.Secondary = cmp.Or(a.X509Thumbprint.Secondary, d.Thumbprints.Secondary)
}

func (h *Hub) getDevice(w http.ResponseWriter, r *http.Request, allowed right) error {
	d, err := h.store.Device(r.Context(), identity(r))
	if err != nil {
		return err
	}
	queued, err := h.store.Queued(r.Context(), d.ID)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", `"`+deviceETag(d)+`"`)
	return writeJSON(w, http.StatusOK, h.deviceDocument(d, queued, allowed))
}

func (h *Hub) deleteDevice(w http.ResponseWriter, r *http.Request, _ right) error {
	if err := h.removeDevice(r.Context(), identity(r), ifMatch(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// removeDevice removes a device, its modules, and what waits for it, or one module.
func (h *Hub) removeDevice(ctx context.Context, id, etag string) error {
	err := h.store.Delete(ctx, id, func(d twin.Device) (*twin.Event, error) {
		return &twin.Event{Type: twin.Deleted, Device: id, Time: time.Now().UTC()}, matchETag(etag, deviceETag(d))
	})
	if err != nil {
		return err
	}
	h.log.Info("device is deleted", "device", id)
	if _, err := h.purge(ctx, id); err != nil {
		return err
	}
	if _, module := twin.Split(id); module != "" {
		return nil
	}
	for module, err := range h.store.Modules(ctx, id) {
		if err == nil {
			err = h.removeDevice(ctx, module.ID, "")
		}
		if err != nil && !errors.Is(err, twin.DeviceNotFound) {
			return err
		}
	}
	return nil
}

func (h *Hub) listDevices(w http.ResponseWriter, r *http.Request, allowed right) error {
	limit := maxList
	if top, err := strconv.Atoi(r.URL.Query().Get("top")); err == nil && top > 0 {
		limit = min(top, maxList)
	}
	return h.writeList(w, r, h.store.Devices(r.Context()), limit, allowed)
}

func (h *Hub) listModules(w http.ResponseWriter, r *http.Request, allowed right) error {
	if _, err := h.store.Device(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	return h.writeList(w, r, h.store.Modules(r.Context(), r.PathValue("id")), maxList, allowed)
}

func (h *Hub) writeList(w http.ResponseWriter, r *http.Request, devices iter.Seq2[twin.Device, error], limit int, allowed right) error {
	queued, err := h.store.Queued(r.Context(), "")
	if err != nil {
		return err
	}
	list := []iothub.Device{}
	for d, err := range devices {
		if err != nil {
			return err
		}
		if list = append(list, h.deviceDocument(d, queued, allowed)); len(list) == limit {
			break
		}
	}
	return writeJSON(w, http.StatusOK, list)
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

// countConnections counts the connections to all hubs on the store.
func (h *Hub) countConnections(w http.ResponseWriter, r *http.Request, _ right) error {
	connected := 0
	for d, err := range h.store.Devices(r.Context()) {
		if err != nil {
			return err
		}
		if d.Connection.Connected {
			connected++
		}
	}
	return writeJSON(w, http.StatusOK, map[string]int{"connectedDeviceCount": connected})
}
