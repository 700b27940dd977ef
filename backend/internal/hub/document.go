package hub

import (
	"encoding/base64"
	"maps"
	"strconv"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/query"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// deviceDocument is Azure's form of an identity; keys are for those who may write the registry.
func (h *Hub) deviceDocument(d twin.Device, queued map[string]int, allowed right) iothub.Device {
	device, module := twin.Split(d.ID)
	doc := iothub.Device{
		DeviceID:                   device,
		ModuleID:                   module,
		GenerationID:               d.Generation,
		ETag:                       deviceETag(d),
		ConnectionState:            connectionState(d),
		ConnectionStateUpdatedTime: d.Connection.Updated,
		Status:                     status(d),
		StatusReason:               d.StatusReason,
		StatusUpdatedTime:          d.StatusUpdated,
		LastActivityTime:           h.lastActivity(d),
		CloudToDeviceMessageCount:  queued[d.ID],
		Authentication:             iothub.Authentication{Type: way(d), X509Thumbprint: iothub.Thumbprint(d.Thumbprints)},
	}
	if allowed&registryWrite != 0 {
		doc.Authentication.SymmetricKey = iothub.SymmetricKey{PrimaryKey: d.Keys.Primary, SecondaryKey: d.Keys.Secondary}
	}
	return doc
}

// twinDocument is Azure's form of a twin, for answers and queries.
func (h *Hub) twinDocument(d twin.Device, queued int) query.Document {
	device, module := twin.Split(d.ID)
	tags := d.Twin.Tags
	if tags == nil {
		tags = query.Document{}
	}
	configurations := query.Document{}
	for id, status := range d.Configurations {
		configurations[id] = query.Document{"status": status}
	}
	document := query.Document{
		"deviceId":                  device,
		"etag":                      twinETag(d),
		"deviceEtag":                deviceETag(d),
		"status":                    status(d),
		"statusUpdateTime":          azureTime(d.StatusUpdated),
		"connectionState":           connectionState(d),
		"lastActivityTime":          azureTime(h.lastActivity(d)),
		"cloudToDeviceMessageCount": queued,
		"authenticationType":        way(d),
		"x509Thumbprint":            query.Document{"primaryThumbprint": orNull(d.Thumbprints.Primary), "secondaryThumbprint": orNull(d.Thumbprints.Secondary)},
		"modelId":                   "",
		"version":                   d.Twin.Version,
		"tags":                      tags,
		"properties":                query.Document{"desired": withMetadata(d.Twin.Desired), "reported": withMetadata(d.Twin.Reported)},
		"capabilities":              query.Document{"iotEdge": false},
		"configurations":            configurations,
	}
	if module != "" {
		document["moduleId"] = module
	}
	if d.StatusReason != "" {
		document["statusReason"] = d.StatusReason
	}
	return document
}

// azureTime has as many digits always, so that times are in order as texts are.
func azureTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func (h *Hub) lastActivity(d twin.Device) time.Time {
	if s := h.session(d.ID); s != nil {
		return s.lastActivity()
	}
	return d.Connection.LastActivity
}

func connectionState(d twin.Device) string {
	if d.Connection.Connected {
		return "Connected"
	}
	return "Disconnected"
}

func status(d twin.Device) string {
	if d.Disabled {
		return "disabled"
	}
	return "enabled"
}

func withVersion(s twin.Section) query.Document {
	section := make(query.Document, len(s.Values)+2)
	maps.Copy(section, s.Values)
	section["$version"] = s.Version
	return section
}

func withMetadata(s twin.Section) query.Document {
	section := withVersion(s)
	section["$metadata"] = s.Metadata
	return section
}

func twinETag(d twin.Device) string { return d.Twin.ETag() }

// deviceETag is base64 of a counter in decimal text, as Azure has it.

func deviceETag(d twin.Device) string {
	return base64.StdEncoding.EncodeToString(strconv.AppendUint(nil, d.Revision, 10))
}
