package device

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// Object 5, Firmware Update: the one component that the configuration names, as
// seen by servers that know firmware only.

func firmwareRecords(v engine.View) []lwm2m.Record {
	version := v.Installed.Version
	if v.Delivery.Version != "" {
		version = v.Delivery.Version
	}
	return records(objects.FirmwareID, 0, map[uint16]lwm2m.Value{
		objects.FirmwarePackageURI:     lwm2m.String(withoutLogin(v.Delivery.URI)),
		objects.FirmwareState:          lwm2m.Int(firmwareState(v.Delivery.State)),
		objects.FirmwareUpdateResult:   lwm2m.Int(firmwareResults[v.Delivery.Result]),
		objects.FirmwarePackageName:    lwm2m.String(v.Component),
		objects.FirmwarePackageVersion: lwm2m.String(version),
		objects.FirmwareDelivery:       lwm2m.Int(objects.FirmwareDeliveryBoth),
		objects.FirmwareStateChange:    lwm2m.Time(time.Unix(v.Delivery.Since, 0)),
	})
}

// protocols are those by which packages can come.
func (c Config) protocols() (all []lwm2m.Record) {
	ids := []int64{objects.FirmwareProtocolCoAP, objects.FirmwareProtocolHTTP, objects.FirmwareProtocolHTTPS, objects.FirmwareProtocolCoAPTCP}
	if c.CoAPS {
		ids = append(ids, objects.FirmwareProtocolCoAPS)
	}
	if c.CoAPTLS {
		ids = append(ids, objects.FirmwareProtocolCoAPTLS)
	}
	for i, id := range ids {
		all = append(all, lwm2m.Record{Path: lwm2m.NewPath(objects.FirmwareID, 0, objects.FirmwareProtocols, uint16(i)), Value: lwm2m.Int(id)})
	}
	return all
}

// withoutLogin is what a URI shows of itself to those who read it back.
func withoutLogin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.User == nil {
		return uri
	}
	u.User = nil
	return u.String()
}

func firmwareState(state string) int64 {
	switch state {
	case engine.Downloading, engine.Downloaded:
		return objects.FirmwareDownloading
	case engine.Delivered:
		return objects.FirmwareDownloaded
	case engine.Installing:
		return objects.FirmwareUpdating
	}
	return objects.FirmwareIdle
}

// firmwareResults are the values of Update Result; others are the initial one.
var firmwareResults = map[string]int64{
	engine.Succeeded: objects.FirmwareResultUpdated, engine.NoStorage: objects.FirmwareResultNoStorage,
	engine.NoMemory: objects.FirmwareResultNoMemory, engine.ConnectionLost: objects.FirmwareResultConnectionLost,
	engine.BadIntegrity: objects.FirmwareResultIntegrity, engine.Unsupported: objects.FirmwareResultUnsupported,
	engine.BadURI: objects.FirmwareResultInvalidURI, engine.NotFound: objects.FirmwareResultInvalidURI,
	engine.DeviceError: objects.FirmwareResultFailed, engine.InstallFailed: objects.FirmwareResultFailed,
	engine.BadProtocol: objects.FirmwareResultProtocol, engine.CancelledByUser: objects.FirmwareResultCancelled,
}

// writeFirmware takes what a server writes to object 5. An empty URI, and a
// package of at most one zero byte, give up what was delivered.
func (d *Device) writeFirmware(ctx context.Context, all []lwm2m.Record) error {
	for _, r := range all {
		if err := d.writeFirmwareTo(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) writeFirmwareTo(ctx context.Context, r lwm2m.Record) error {
	switch r.Path.Resource() {
	case objects.FirmwarePackageURI:
		uri := r.Value.Text()
		if uri == "" {
			return coded(d.reset())
		}
		err := d.Deliveries.Pull(d.Firmware, uri, "", "", true)
		if errors.Is(err, engine.ErrNotNow) {
			return lwm2m.Errorf(lwm2m.CodeBadRequest, "another package is there: write an empty URI first")
		}
		return coded(err)
	case objects.FirmwarePackage:
		s, err := d.firmwareStream(ctx, r.Path, int64(len(r.Value.Opaque())))
		if err != nil {
			return err
		}
		return whole(s, r.Value.Opaque())
	}
	return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "%v has no meaning here", r.Path)
}

// reset gives up what was delivered, and forgets how the last update has ended.
func (d *Device) reset() error {
	v, err := d.Manager.View(d.Firmware)
	if err != nil || v.Delivery.State != "" {
		return errors.Join(err, d.Deliveries.Drop(d.Firmware, ""))
	}
	return d.Manager.Want(d.Firmware, func(w *engine.Wishes) {
		if w.Delivery.State == "" {
			w.Delivery.Result, w.Delivery.Reason = "", ""
		}
	})
}

func (d *Device) executeFirmware(_ context.Context, p lwm2m.Path, _ string) error {
	switch p.Resource() {
	case objects.FirmwareUpdate:
		return coded(d.Deliveries.Install(d.Firmware, false))
	case objects.FirmwareCancel:
		return coded(d.Deliveries.Drop(d.Firmware, engine.CancelledByUser))
	}
	return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "%v cannot be executed", p)
}
