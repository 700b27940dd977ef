package bridge

import (
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A stage is how far an object of a device is with a package, whichever object it
// is.
type stage string

const (
	vacant     stage = "vacant"     // it has no package in hand
	fetching   stage = "fetching"   // one comes, or is being verified
	ready      stage = "ready"      // one waits to be installed
	installing stage = "installing" // it is being installed
	installed  stage = "installed"  // it is, and has to make way for the next: object 9 only
)

// A blame says what to do about a failure.
type blame int

const (
	retry    blame = iota // the same may work another time
	reroute               // another way to bring the package may work
	hopeless              // this package on this device does not
)

// A failing is what an Update Result means.
type failing struct {
	words string
	blame blame
}

// An object is how one of the OMA's objects is driven. Clients differ in their
// results, so the state comes first, and of results only failures count, and the
// success of an object that forgets what it has installed.
type object struct {
	id                                                 uint16
	kind                                               string // of components
	name, version, image, uri, install, state, outcome uint16
	stages                                             []stage // by state
	success                                            int64   // result of what was installed and is forgotten; -1 none
	deferred                                           int64   // result of what somebody at the device puts off; -1 none
	failings                                           map[int64]failing
}

// firmware is object 5 (OMA LwM2M 1.1, E.6).
var firmware = &object{
	id: objects.FirmwareID, kind: "firmware",
	name: objects.FirmwarePackageName, version: objects.FirmwarePackageVersion, image: objects.FirmwarePackage, uri: objects.FirmwarePackageURI,
	install: objects.FirmwareUpdate, state: objects.FirmwareState, outcome: objects.FirmwareUpdateResult,
	stages:  []stage{objects.FirmwareIdle: vacant, objects.FirmwareDownloading: fetching, objects.FirmwareDownloaded: ready, objects.FirmwareUpdating: installing},
	success: objects.FirmwareResultUpdated, deferred: objects.FirmwareResultDeferred,
	failings: map[int64]failing{
		objects.FirmwareResultNoStorage:      {"the device has not enough flash memory for the package", hopeless},
		objects.FirmwareResultNoMemory:       {"the device ran out of memory while it downloaded", retry},
		objects.FirmwareResultConnectionLost: {"the device lost its connection while it downloaded", retry},
		objects.FirmwareResultIntegrity:      {"the package did not arrive whole, or its own check of integrity fails", retry},
		objects.FirmwareResultUnsupported:    {"the device does not take this type of package", hopeless},
		objects.FirmwareResultInvalidURI:     {"the device cannot use the URI, or finds nothing there", reroute},
		objects.FirmwareResultFailed:         {"the device could not update its firmware", hopeless},
		objects.FirmwareResultProtocol:       {"the device does not support the protocol of the URI", reroute},
		objects.FirmwareResultCancelled:      {"the update was cancelled on the device", hopeless},
	},
}

// software is an instance of object 9 (OMA-TS-LWM2M_SwMgmt-V1_0).
var software = &object{
	id: objects.SoftwareManagementID, kind: "software",
	name: objects.SoftwarePackageName, version: objects.SoftwarePackageVersion, image: objects.SoftwarePackage, uri: objects.SoftwarePackageURI,
	install: objects.SoftwareInstall, state: objects.SoftwareUpdateState, outcome: objects.SoftwareUpdateResult,
	stages:  []stage{objects.SoftwareInitial: vacant, objects.SoftwareDownloadStarted: fetching, objects.SoftwareDownloaded: fetching, objects.SoftwareDelivered: ready, objects.SoftwareInstalled: installed},
	success: -1, deferred: -1,
	failings: map[int64]failing{
		objects.SoftwareResultNoStorage:       {"the device has not enough storage for the package", hopeless},
		objects.SoftwareResultNoMemory:        {"the device ran out of memory while it downloaded", retry},
		objects.SoftwareResultConnectionLost:  {"the device lost its connection while it downloaded", retry},
		objects.SoftwareResultIntegrity:       {"the package did not arrive whole, or its own check of integrity fails", retry},
		objects.SoftwareResultUnsupported:     {"the device does not take this type of package", hopeless},
		objects.SoftwareResultInvalidURI:      {"the device cannot use the URI, or finds nothing there", reroute},
		objects.SoftwareResultDeviceError:     {"the device reports an error of its own", retry},
		objects.SoftwareResultInstallFailed:   {"the device could not install the package", hopeless},
		objects.SoftwareResultUninstallFailed: {"the device could not uninstall what it has", retry},
	},
}

// A view is what an instance of an object says of itself.
type view struct {
	stage         stage
	result        int64
	name, version string
	active        bool   // it runs, as far as the device says
	reason        string // in the device's words, "" if it says nothing
	pull, push    bool   // how it takes packages
	protocols     []int64
}

// read understands what was read from an instance.
func (o *object) read(instance lwm2m.Path, records []lwm2m.Record) view {
	known := values{}
	known.take(records)
	at := func(resource uint16) lwm2m.Value { return known[instance.Child(resource)].Value }
	v := view{
		stage: vacant, result: at(o.outcome).Int(), name: at(o.name).Text(), version: at(o.version).Text(),
		active: true, pull: true, push: true,
	}
	if state := at(o.state).Int(); state >= 0 && state < int64(len(o.stages)) {
		v.stage = o.stages[state]
	}
	if o == software {
		v.active, v.reason = v.stage != vacant && at(objects.SoftwareActivationState).Bool(), at(objects.SoftwareStatusReason).Text()
		return v
	}
	if method := at(objects.FirmwareDelivery); method.Kind() != lwm2m.KindNone {
		v.pull, v.push = method.Int() != objects.FirmwareDeliveryPush, method.Int() != objects.FirmwareDeliveryPull
	}
	v.protocols = protocols(instance, records)
	return v
}

// protocols lists the values of Firmware Update Protocol Support.
func protocols(instance lwm2m.Path, records []lwm2m.Record) (all []int64) {
	for _, r := range records {
		if instance.Child(objects.FirmwareProtocols).Contains(r.Path) {
			all = append(all, r.Value.Int())
		}
	}
	return all
}

// failing says what went wrong, if the result of v is a failure.
func (o *object) failing(v view) (f failing, failed bool) {
	f, failed = o.failings[v.result]
	if failed && v.reason != "" {
		f.words += ": " + v.reason
	}
	return f, failed
}
