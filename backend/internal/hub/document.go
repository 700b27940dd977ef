package hub

import (
	"encoding/base64"
	"encoding/binary"
	"maps"
	"strconv"
	"time"

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

func (h *Hub) twinDocument(d twin.Device) iothub.Twin {
	tags := d.Twin.Tags
	if tags == nil {
		tags = map[string]any{}
	}
	device, module := twin.Split(d.ID)
	return iothub.Twin{
		DeviceID:           device,
		ModuleID:           module,
		ETag:               twinETag(d),
		DeviceETag:         deviceETag(d),
		Status:             status(d),
		StatusUpdateTime:   d.StatusUpdated,
		ConnectionState:    connectionState(d),
		LastActivityTime:   h.lastActivity(d),
		AuthenticationType: way(d),
		Version:            d.Twin.Version,
		Tags:               tags,
		Properties:         iothub.Properties{Desired: withMetadata(d.Twin.Desired), Reported: withMetadata(d.Twin.Reported)},
	}
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

func withVersion(s twin.Section) iothub.Section {
	section := make(iothub.Section, len(s.Values)+2)
	maps.Copy(section, s.Values)
	section["$version"] = s.Version
	return section
}

func withMetadata(s twin.Section) iothub.Section {
	section := withVersion(s)
	section["$metadata"] = s.Metadata
	return section
}

// twinETag is base64 of an 8-byte big-endian counter, deviceETag of decimal text: as Azure has them.
func twinETag(d twin.Device) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, d.Twin.Revision))
}

func deviceETag(d twin.Device) string {
	return base64.StdEncoding.EncodeToString(strconv.AppendUint(nil, d.Revision, 10))
}
