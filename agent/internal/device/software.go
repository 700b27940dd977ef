package device

import (
	"context"
	"strings"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Object 9, Software Management: a component and the package that is delivered
// for it.

// softwareRecords is a component as an instance of Software Management.
func softwareRecords(instance uint16, v engine.View) []lwm2m.Record {
	version := v.Installed.Version
	if v.Delivery.State == engine.Delivered || v.Delivery.State == engine.Installing {
		version = v.Delivery.Version
	}
	state := softwareState(v)
	values := map[uint16]lwm2m.Value{
		objects.SoftwarePackageName:     lwm2m.String(packageName(v)),
		objects.SoftwarePackageVersion:  lwm2m.String(version),
		objects.SoftwareUpdateState:     lwm2m.Int(state),
		objects.SoftwareUpdateResult:    lwm2m.Int(softwareResult(state, v.Delivery)),
		objects.SoftwareActivationState: lwm2m.Bool(v.Running && !v.Inactive),
		objects.SoftwareStatusReason:    lwm2m.String(reason(v)),
	}
	return records(objects.SoftwareManagementID, instance, values)
}

// reason tells in words how what was asked for last has ended or, while another
// wish than that is at work, that it is.
func reason(v engine.View) string {
	switch {
	case v.Delivery.Reason != "":
		return v.Delivery.Reason
	case v.Progress != nil:
		return "update to " + v.Progress.To + ": " + v.Progress.Step
	case v.Outcome != nil:
		return v.Outcome.Cause
	}
	return ""
}

// packageName is the component's name in the form of package file names.
func packageName(v engine.View) string {
	if file, err := pack.ParseFileName(v.Wish.Package); err == nil {
		return file.String()
	}
	kind, name, _ := strings.Cut(v.Component, "/")
	return pack.FileName{Type: kind, Name: name, File: v.Installed.Version}.String()
}

func softwareState(v engine.View) int64 {
	switch v.Delivery.State {
	case engine.Downloading:
		return objects.SoftwareDownloadStarted
	case engine.Downloaded:
		return objects.SoftwareDownloaded
	case engine.Delivered, engine.Installing:
		return objects.SoftwareDelivered
	}
	if v.Vacant() {
		return objects.SoftwareInitial
	}
	return objects.SoftwareInstalled
}

// softwareFailures are the results of a package that was not delivered.
var softwareFailures = map[string]int64{
	engine.NoStorage: objects.SoftwareResultNoStorage, engine.NoMemory: objects.SoftwareResultNoMemory,
	engine.ConnectionLost: objects.SoftwareResultConnectionLost, engine.BadIntegrity: objects.SoftwareResultIntegrity,
	engine.Unsupported: objects.SoftwareResultUnsupported, engine.BadURI: objects.SoftwareResultInvalidURI,
	engine.BadProtocol: objects.SoftwareResultInvalidURI, engine.NotFound: objects.SoftwareResultDeviceError,
	engine.DeviceError: objects.SoftwareResultDeviceError, engine.InstallFailed: objects.SoftwareResultInstallFailed,
}

func softwareResult(state int64, d engine.Delivery) int64 {
	switch state {
	case objects.SoftwareDownloadStarted, objects.SoftwareDownloaded:
		return objects.SoftwareResultDownloading
	case objects.SoftwareDelivered:
		if d.Result == "" {
			return objects.SoftwareResultVerified
		}
	case objects.SoftwareInstalled:
		if d.Result == engine.UninstallFailed {
			return objects.SoftwareResultUninstallFailed
		}
		return objects.SoftwareResultInstalled
	}
	return softwareFailures[d.Result]
}

// A login is for the next URI that is written.
type login struct{ user, password string }

// writeSoftware takes what a server writes to object 9. A package that is longer
// than a few blocks comes by [Device.softwareStream].
func (d *Device) writeSoftware(_ context.Context, all []lwm2m.Record) error {
	for _, r := range all {
		component, err := d.component(r.Path)
		if err != nil {
			return err
		}
		d.mu.Lock()
		l := d.logins[component]
		d.mu.Unlock()
		switch r.Path.Resource() {
		case objects.SoftwareUserName:
			l.user = r.Value.Text()
		case objects.SoftwarePassword:
			l.password = r.Value.Text()
		case objects.SoftwarePackageURI:
			err = coded(d.Deliveries.Pull(component, r.Value.Text(), l.user, l.password, false))
			l = login{}
		case objects.SoftwarePackage:
			err = whole(d.stream(component, int64(len(r.Value.Opaque())), false, nil), r.Value.Opaque())
		default:
			err = lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "%v has no meaning here", r.Path)
		}
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.logins[component] = l
		d.mu.Unlock()
	}
	return nil
}

// executeSoftware answers when it is known whether the thing will be done; how it
// ends shows in the state.
func (d *Device) executeSoftware(_ context.Context, p lwm2m.Path, arguments string) error {
	component, err := d.component(p)
	if err != nil {
		return err
	}
	switch p.Resource() {
	case objects.SoftwareInstall:
		return coded(d.Deliveries.Install(component, true))
	case objects.SoftwareUninstall:
		upgrade := arguments == objects.SoftwareUninstallForUpdate
		if !upgrade && arguments != "" && arguments != objects.SoftwareUninstallRemove {
			return lwm2m.Errorf(lwm2m.CodeBadRequest, "argument %q is neither 0 nor 1", arguments)
		}
		return coded(d.Deliveries.Uninstall(component, upgrade))
	case objects.SoftwareActivate, objects.SoftwareDeactivate:
		return coded(d.activate(component, p.Resource() == objects.SoftwareActivate))
	}
	return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "%v cannot be executed", p)
}

// activate has an installed component run, or not.
func (d *Device) activate(component string, active bool) error {
	v, err := d.Manager.View(component)
	if err == nil && softwareState(v) != objects.SoftwareInstalled {
		err = engine.ErrNotNow
	}
	if err != nil {
		return err
	}
	return d.Manager.Want(component, func(w *engine.Wishes) { w.Inactive = !active })
}
