package objects

import "github.com/tranquil-iot/tranquil/sdk/lwm2m"

// Resources of Software Management (9).
const (
	SoftwarePackageName     = 0
	SoftwarePackageVersion  = 1
	SoftwarePackage         = 2
	SoftwarePackageURI      = 3
	SoftwareInstall         = 4
	SoftwareCheckpoint      = 5
	SoftwareUninstall       = 6
	SoftwareUpdateState     = 7
	SoftwareUpdateSupported = 8
	SoftwareUpdateResult    = 9
	SoftwareActivate        = 10
	SoftwareDeactivate      = 11
	SoftwareActivationState = 12
	SoftwareSettings        = 13
	SoftwareUserName        = 14
	SoftwarePassword        = 15
	SoftwareStatusReason    = 16
)

// Values of SoftwareUpdateState.
const (
	SoftwareInitial         = 0
	SoftwareDownloadStarted = 1
	SoftwareDownloaded      = 2
	SoftwareDelivered       = 3
	SoftwareInstalled       = 4
)

// Values of SoftwareUpdateResult.
const (
	SoftwareResultInitial         = 0
	SoftwareResultDownloading     = 1
	SoftwareResultInstalled       = 2
	SoftwareResultVerified        = 3
	SoftwareResultNoStorage       = 50
	SoftwareResultNoMemory        = 51
	SoftwareResultConnectionLost  = 52
	SoftwareResultIntegrity       = 53
	SoftwareResultUnsupported     = 54
	SoftwareResultInvalidURI      = 56
	SoftwareResultDeviceError     = 57
	SoftwareResultInstallFailed   = 58
	SoftwareResultUninstallFailed = 59
)

// Arguments of SoftwareUninstall.
const (
	SoftwareUninstallRemove    = "0"
	SoftwareUninstallForUpdate = "1" // make room for an upgrade
)

// SoftwareManagement is object 9, version 1.0 (OMA-TS-LWM2M_SwMgmt-V1_0).
var SoftwareManagement = lwm2m.Definition{
	ID: SoftwareManagementID, Name: "LWM2M Software Management", Multiple: true,
	Resources: []lwm2m.Resource{
		{ID: SoftwarePackageName, Name: "PkgName", Operations: lwm2m.R, Kind: lwm2m.KindString, Mandatory: true},
		{ID: SoftwarePackageVersion, Name: "PkgVersion", Operations: lwm2m.R, Kind: lwm2m.KindString, Mandatory: true},
		{ID: SoftwarePackage, Name: "Package", Operations: lwm2m.W, Kind: lwm2m.KindOpaque},
		{ID: SoftwarePackageURI, Name: "Package URI", Operations: lwm2m.W, Kind: lwm2m.KindString},
		{ID: SoftwareInstall, Name: "Install", Operations: lwm2m.E, Mandatory: true},
		{ID: SoftwareCheckpoint, Name: "Checkpoint", Operations: lwm2m.R, Kind: lwm2m.KindLink},
		{ID: SoftwareUninstall, Name: "Uninstall", Operations: lwm2m.E, Mandatory: true},
		{ID: SoftwareUpdateState, Name: "Update State", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Mandatory: true},
		{ID: SoftwareUpdateSupported, Name: "Update Supported Objects", Operations: lwm2m.RW, Kind: lwm2m.KindBoolean},
		{ID: SoftwareUpdateResult, Name: "Update Result", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Mandatory: true},
		{ID: SoftwareActivate, Name: "Activate", Operations: lwm2m.E, Mandatory: true},
		{ID: SoftwareDeactivate, Name: "Deactivate", Operations: lwm2m.E, Mandatory: true},
		{ID: SoftwareActivationState, Name: "Activation State", Operations: lwm2m.R, Kind: lwm2m.KindBoolean, Mandatory: true},
		{ID: SoftwareSettings, Name: "Package Settings", Operations: lwm2m.RW, Kind: lwm2m.KindLink},
		{ID: SoftwareUserName, Name: "User Name", Operations: lwm2m.W, Kind: lwm2m.KindString},
		{ID: SoftwarePassword, Name: "Password", Operations: lwm2m.W, Kind: lwm2m.KindString},
		{ID: SoftwareStatusReason, Name: "Status Reason", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: 17, Name: "Software Component Link", Operations: lwm2m.R, Kind: lwm2m.KindLink, Multiple: true},
		{ID: 18, Name: "Software Component tree length", Operations: lwm2m.R, Kind: lwm2m.KindInteger},
	},
}
