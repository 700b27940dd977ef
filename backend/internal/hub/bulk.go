package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// maxBulk is how many identities one request may change: Azure's.
const maxBulk = 100

// wish is what a bulk request wants of one device or module.
type wish struct {
	ID             string                `json:"id"`
	ModuleID       string                `json:"moduleId"`
	Mode           string                `json:"importMode"`
	ETag           string                `json:"eTag"`
	Status         string                `json:"status"`
	StatusReason   string                `json:"statusReason"`
	Authentication iothub.Authentication `json:"authentication"`
	TwinETag       string                `json:"twinETag"`
	Tags           map[string]any        `json:"tags"`
	Properties     struct {
		Desired map[string]any `json:"desired"`
	} `json:"properties"`
}

// failure is why a wish was not fulfilled.
type failure struct {
	DeviceID string `json:"deviceId"`
	ModuleID string `json:"moduleId,omitempty"`
	Code     string `json:"errorCode"`
	Text     string `json:"errorStatus"`
}

// changeMany creates, changes and deletes up to a hundred devices or modules, each by itself.
func (h *Hub) changeMany(w http.ResponseWriter, r *http.Request, _ right) error {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var wishes []wish
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&wishes); err != nil {
		return twin.Malformed.With("not a list of devices: %v", err)
	}
	if len(wishes) > maxBulk {
		return twin.ArgumentInvalid.With("there are %d devices, %d are allowed at once", len(wishes), maxBulk)
	}
	failures := []failure{}
	for _, wish := range wishes {
		if err := h.fulfil(r.Context(), wish); err != nil {
			e := h.refusal(err)
			failures = append(failures, failure{wish.ID, wish.ModuleID, e.Name, e.Message})
		}
	}
	status := http.StatusOK
	if len(failures) > 0 {
		status = http.StatusBadRequest
	}
	return writeJSON(w, status, map[string]any{"isSuccessful": len(failures) == 0, "errors": failures, "warnings": []failure{}})
}

// fulfil does what a wish wants; its mode is compared without case, as SDKs write it in several ways.
func (h *Hub) fulfil(ctx context.Context, w wish) error {
	id := username{w.ID, w.ModuleID}.id()
	doc := iothub.Device{DeviceID: w.ID, ModuleID: w.ModuleID, Status: w.Status, StatusReason: w.StatusReason, Authentication: w.Authentication}
	mode, match := strings.CutSuffix(strings.ToLower(w.Mode), "ifmatchetag")
	etag, twinsETag := "", ""
	if match {
		etag, twinsETag = cmp.Or(w.ETag, "-"), cmp.Or(w.TwinETag, "-") // "-" is nobody's
	}
	switch mode {
	case "create", "":
		_, err := h.createDevice(ctx, doc, w.patch())
		return err
	case "update":
		_, err := h.updateDevice(ctx, doc, etag)
		return err
	case "createorupdate":
		_, err := h.createDevice(ctx, doc, w.patch())
		if err != twin.DeviceExists {
			return err
		}
		_, err = h.updateDevice(ctx, doc, etag)
		return err
	case "delete":
		return h.removeDevice(ctx, id, etag)
	case "updatetwin":
		_, err := h.patchTwin(ctx, id, func(d twin.Device) (twin.Patch, error) {
			return *cmp.Or(w.patch(), &twin.Patch{}), matchETag(twinsETag, twinETag(d))
		})
		return err
	}
	return twin.ArgumentInvalid.With("importMode %q is unknown", w.Mode)
}

// patch is what the wish wants of the twin, nil if nothing.
func (w wish) patch() *twin.Patch {
	if w.Tags == nil && w.Properties.Desired == nil {
		return nil
	}
	return &twin.Patch{Tags: w.Tags, Desired: w.Properties.Desired}
}
