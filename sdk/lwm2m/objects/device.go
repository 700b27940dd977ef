package objects

import "github.com/tranquil-iot/tranquil/sdk/lwm2m"

// Resources of Device (3).
const (
	DeviceManufacturer    = 0
	DeviceModelNumber     = 1
	DeviceSerialNumber    = 2
	DeviceFirmwareVersion = 3
	DeviceReboot          = 4
	DeviceFactoryReset    = 5
	DevicePowerSources    = 6
	DeviceBatteryLevel    = 9
	DeviceMemoryFree      = 10
	DeviceErrorCode       = 11
	DeviceResetErrorCode  = 12
	DeviceCurrentTime     = 13
	DeviceUTCOffset       = 14
	DeviceTimezone        = 15
	DeviceBindings        = 16
	DeviceType            = 17
	DeviceHardwareVersion = 18
	DeviceSoftwareVersion = 19
	DeviceMemoryTotal     = 21
)

// Device is object 3 (OMA LwM2M 1.0).
var Device = lwm2m.Definition{
	ID: DeviceID, Name: "Device",
	Resources: []lwm2m.Resource{
		{ID: DeviceManufacturer, Name: "Manufacturer", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: DeviceModelNumber, Name: "Model Number", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: DeviceSerialNumber, Name: "Serial Number", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: DeviceFirmwareVersion, Name: "Firmware Version", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: DeviceReboot, Name: "Reboot", Operations: lwm2m.E, Mandatory: true},
		{ID: DeviceFactoryReset, Name: "Factory Reset", Operations: lwm2m.E},
		{ID: DevicePowerSources, Name: "Available Power Sources", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Multiple: true},
		{ID: 7, Name: "Power Source Voltage", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Multiple: true, Units: "mV"},
		{ID: 8, Name: "Power Source Current", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Multiple: true, Units: "mA"},
		{ID: DeviceBatteryLevel, Name: "Battery Level", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Units: "/100"},
		{ID: DeviceMemoryFree, Name: "Memory Free", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Units: "KiB"},
		{ID: DeviceErrorCode, Name: "Error Code", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Multiple: true, Mandatory: true},
		{ID: DeviceResetErrorCode, Name: "Reset Error Code", Operations: lwm2m.E},
		{ID: DeviceCurrentTime, Name: "Current Time", Operations: lwm2m.RW, Kind: lwm2m.KindTime},
		{ID: DeviceUTCOffset, Name: "UTC Offset", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: DeviceTimezone, Name: "Timezone", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: DeviceBindings, Name: "Supported Binding and Modes", Operations: lwm2m.R, Kind: lwm2m.KindString, Mandatory: true},
		{ID: DeviceType, Name: "Device Type", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: DeviceHardwareVersion, Name: "Hardware Version", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: DeviceSoftwareVersion, Name: "Software Version", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: 20, Name: "Battery Status", Operations: lwm2m.R, Kind: lwm2m.KindInteger},
		{ID: DeviceMemoryTotal, Name: "Memory Total", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Units: "KiB"},
		{ID: 22, Name: "ExtDevInfo", Operations: lwm2m.R, Kind: lwm2m.KindLink, Multiple: true},
	},
}
