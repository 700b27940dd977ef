package objects

import "github.com/tranquil-iot/tranquil/sdk/lwm2m"

// Resources of Firmware Update (5).
const (
	FirmwarePackage        = 0
	FirmwarePackageURI     = 1
	FirmwareUpdate         = 2
	FirmwareState          = 3
	FirmwareUpdateResult   = 5
	FirmwarePackageName    = 6
	FirmwarePackageVersion = 7
	FirmwareProtocols      = 8
	FirmwareDelivery       = 9
	FirmwareCancel         = 10
	FirmwareSeverity       = 11
	FirmwareStateChange    = 12
	FirmwareMaxDefer       = 13
)

// Values of FirmwareState.
const (
	FirmwareIdle        = 0
	FirmwareDownloading = 1
	FirmwareDownloaded  = 2
	FirmwareUpdating    = 3
)

// Values of FirmwareUpdateResult.
const (
	FirmwareResultInitial        = 0
	FirmwareResultUpdated        = 1
	FirmwareResultNoStorage      = 2
	FirmwareResultNoMemory       = 3
	FirmwareResultConnectionLost = 4
	FirmwareResultIntegrity      = 5
	FirmwareResultUnsupported    = 6
	FirmwareResultInvalidURI     = 7
	FirmwareResultFailed         = 8
	FirmwareResultProtocol       = 9
	FirmwareResultCancelled      = 10
	FirmwareResultDeferred       = 11
)

// Values of FirmwareProtocols.
const (
	FirmwareProtocolCoAP    = 0
	FirmwareProtocolCoAPS   = 1
	FirmwareProtocolHTTP    = 2
	FirmwareProtocolHTTPS   = 3
	FirmwareProtocolCoAPTCP = 4
	FirmwareProtocolCoAPTLS = 5
)

// Values of FirmwareDelivery.
const (
	FirmwareDeliveryPull = 0
	FirmwareDeliveryPush = 1
	FirmwareDeliveryBoth = 2
)

// Firmware is object 5, version 1.1 (OMA LwM2M 1.1).
var Firmware = lwm2m.Definition{
	ID: FirmwareID, Name: "Firmware Update", Version: "1.1",
	Resources: []lwm2m.Resource{
		{ID: FirmwarePackage, Name: "Package", Operations: lwm2m.W, Kind: lwm2m.KindOpaque, Mandatory: true},
		{ID: FirmwarePackageURI, Name: "Package URI", Operations: lwm2m.RW, Kind: lwm2m.KindString, Mandatory: true},
		{ID: FirmwareUpdate, Name: "Update", Operations: lwm2m.E, Mandatory: true},
		{ID: FirmwareState, Name: "State", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Mandatory: true},
		{ID: FirmwareUpdateResult, Name: "Update Result", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Mandatory: true},
		{ID: FirmwarePackageName, Name: "PkgName", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: FirmwarePackageVersion, Name: "PkgVersion", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: FirmwareProtocols, Name: "Firmware Update Protocol Support", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Multiple: true},
		{ID: FirmwareDelivery, Name: "Firmware Update Delivery Method", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Mandatory: true},
		{ID: FirmwareCancel, Name: "Cancel", Operations: lwm2m.E},
		{ID: FirmwareSeverity, Name: "Severity", Operations: lwm2m.RW, Kind: lwm2m.KindInteger},
		{ID: FirmwareStateChange, Name: "Last State Change Time", Operations: lwm2m.R, Kind: lwm2m.KindTime},
		{ID: FirmwareMaxDefer, Name: "Maximum Defer Period", Operations: lwm2m.RW, Kind: lwm2m.KindUnsigned, Units: "s"},
	},
}
