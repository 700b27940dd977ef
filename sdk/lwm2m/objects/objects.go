// Package objects has ready definitions of LwM2M objects: the OMA registry's 0,
// 1, 2, 3, 4, 5 and 9, IPSO's sensors, and Tranquil's Component Update object, each with
// its resource ids by name. [Memory] and [Sensor] are ready objects for devices.
package objects

import "github.com/tranquil-iot/tranquil/sdk/lwm2m"

// Ids of the objects defined here.
const (
	SecurityID           = 0
	ServerID             = 1
	DeviceID             = 3
	ConnectivityID       = 4
	FirmwareID           = 5
	SoftwareManagementID = 9
	TemperatureID        = 3303
	ComponentUpdateID    = 26250
)

// Model is the model of all objects in this package, including every IPSO sensor
// that [SensorDefinition] knows.
func Model() lwm2m.Model {
	m := lwm2m.NewModel(Security, Server, lwm2m.AccessDefinition, Device, Connectivity, Firmware, SoftwareManagement, ComponentUpdate)
	for id := range sensorNames {
		m[id] = SensorDefinition(id)
	}
	return m
}
