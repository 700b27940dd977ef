package objects

import (
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// Resources of IPSO sensors (3300 and its kin).
const (
	SensorMinMeasured   = 5601
	SensorMaxMeasured   = 5602
	SensorMinRange      = 5603
	SensorMaxRange      = 5604
	SensorResetMinMax   = 5605
	SensorValue         = 5700
	SensorUnits         = 5701
	SensorTimestamp     = 5518
	SensorApplication   = 5750
	sensorObjectVersion = "1.1" // the one that has 5518
)

var sensorNames = map[uint16]string{
	3300: "Generic Sensor", 3301: "Illuminance", TemperatureID: "Temperature", 3304: "Humidity",
	3305: "Power Measurement", 3313: "Accelerometer", 3314: "Magnetometer", 3315: "Barometer",
	3316: "Voltage", 3317: "Current", 3318: "Frequency", 3319: "Depth", 3320: "Percentage",
	3321: "Altitude", 3322: "Load", 3323: "Pressure", 3324: "Loudness", 3325: "Concentration",
	3326: "Acidity", 3327: "Conductivity", 3328: "Power", 3329: "Power Factor", 3330: "Distance",
	3346: "Rate",
}

// SensorDefinition is the definition of an IPSO sensor object, 3300 to 3350: they
// share their resources. An id without a name of its own is a "Generic Sensor".
// In the registry 3305, 3313 and 3314 have several values each and other resources
// (package registry has those definitions); here they too carry one value.
func SensorDefinition(id uint16) lwm2m.Definition {
	name := sensorNames[id]
	if name == "" {
		name = "Generic Sensor"
	}
	return lwm2m.Definition{
		ID: id, Name: name, Version: sensorObjectVersion, Multiple: true,
		Resources: []lwm2m.Resource{
			{ID: SensorTimestamp, Name: "Timestamp", Operations: lwm2m.R, Kind: lwm2m.KindTime},
			{ID: SensorMinMeasured, Name: "Min Measured Value", Operations: lwm2m.R, Kind: lwm2m.KindFloat},
			{ID: SensorMaxMeasured, Name: "Max Measured Value", Operations: lwm2m.R, Kind: lwm2m.KindFloat},
			{ID: SensorMinRange, Name: "Min Range Value", Operations: lwm2m.R, Kind: lwm2m.KindFloat},
			{ID: SensorMaxRange, Name: "Max Range Value", Operations: lwm2m.R, Kind: lwm2m.KindFloat},
			{ID: SensorResetMinMax, Name: "Reset Min and Max Measured Values", Operations: lwm2m.E},
			{ID: SensorValue, Name: "Sensor Value", Operations: lwm2m.R, Kind: lwm2m.KindFloat, Mandatory: true},
			{ID: SensorUnits, Name: "Sensor Units", Operations: lwm2m.R, Kind: lwm2m.KindString},
			{ID: SensorApplication, Name: "Application Type", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		},
	}
}

// Sensor is an IPSO sensor object for readings of any number of instances.
type Sensor struct{ *Memory }

// NewSensor makes the object with id 3300 to 3350; instances appear with their
// first reading.
func NewSensor(id uint16) Sensor { return Sensor{NewMemory(SensorDefinition(id))} }

// Reading keeps one reading and gives the paths that changed, for
// [lwm2m.Client.Changed]. An empty unit is left out.
func (s Sensor) Reading(instance uint16, value float64, unit string, at time.Time) []lwm2m.Path {
	base := lwm2m.NewPath(s.Definition().ID, instance)
	records := []lwm2m.Record{
		{Path: base.Child(SensorValue), Value: lwm2m.Float(value), Time: at},
		{Path: base.Child(SensorTimestamp), Value: lwm2m.Time(at)},
	}
	if unit != "" {
		records = append(records, lwm2m.Record{Path: base.Child(SensorUnits), Value: lwm2m.String(unit)})
	}
	s.Set(records...)
	return []lwm2m.Path{base}
}
