package objects

import (
	"slices"
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
	SensorX             = 5702 // of 3313 and 3314
	SensorY             = 5703
	SensorZ             = 5704
	SensorActivePower   = 5800 // of 3305
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

// SensorDefinition is the definition of an IPSO sensor object, 3300 to 3350: all but
// three share their resources. An id without a name of its own is a "Generic
// Sensor".
func SensorDefinition(id uint16) lwm2m.Definition {
	name := sensorNames[id]
	if name == "" {
		name = "Generic Sensor"
	}
	resources, special := specialSensors[id]
	if !special {
		resources = []lwm2m.Resource{
			timestamp,
			float(SensorMinMeasured, "Min Measured Value", ""), float(SensorMaxMeasured, "Max Measured Value", ""),
			float(SensorMinRange, "Min Range Value", ""), float(SensorMaxRange, "Max Range Value", ""),
			resetMinMax, mandatory(float(SensorValue, "Sensor Value", "")), units, application,
		}
	}
	return lwm2m.Definition{ID: id, Name: name, Version: sensorObjectVersion, Multiple: true, Resources: resources}
}

// specialSensors have another main value than Sensor Value, and others beside it.
var specialSensors = map[uint16][]lwm2m.Resource{
	3305: {
		timestamp, resetMinMax, application,
		mandatory(float(SensorActivePower, "Instantaneous active power", "W")),
		float(5801, "Min Measured active power", "W"), float(5802, "Max Measured active power", "W"),
		float(5803, "Min Range active power", "W"), float(5804, "Max Range active power", "W"),
		float(5805, "Cumulative active power", "Wh"),
		{ID: 5806, Name: "Active Power Calibration", Operations: lwm2m.W, Kind: lwm2m.KindFloat, Units: "W"},
		float(5810, "Instantaneous reactive power", "var"),
		float(5811, "Min Measured reactive power", "var"), float(5812, "Max Measured reactive power", "var"),
		float(5813, "Min Range reactive power", "var"), float(5814, "Max Range reactive power", "var"),
		float(5815, "Cumulative reactive power", "varh"),
		{ID: 5816, Name: "Reactive Power Calibration", Operations: lwm2m.W, Kind: lwm2m.KindFloat, Units: "var"},
		float(5820, "Power factor", ""),
		{ID: 5821, Name: "Current Calibration", Operations: lwm2m.RW, Kind: lwm2m.KindFloat},
		{ID: 5822, Name: "Reset Cumulative energy", Operations: lwm2m.E},
	},
	3313: {
		timestamp, float(SensorMinRange, "Min Range Value", ""), float(SensorMaxRange, "Max Range Value", ""),
		units, mandatory(float(SensorX, "X Value", "")), float(SensorY, "Y Value", ""), float(SensorZ, "Z Value", ""), application,
	},
	3314: {
		timestamp, units, mandatory(float(SensorX, "X Value", "")), float(SensorY, "Y Value", ""), float(SensorZ, "Z Value", ""),
		float(5705, "Compass Direction", "deg"), application,
	},
}

var (
	timestamp   = lwm2m.Resource{ID: SensorTimestamp, Name: "Timestamp", Operations: lwm2m.R, Kind: lwm2m.KindTime}
	resetMinMax = lwm2m.Resource{ID: SensorResetMinMax, Name: "Reset Min and Max Measured Values", Operations: lwm2m.E}
	units       = lwm2m.Resource{ID: SensorUnits, Name: "Sensor Units", Operations: lwm2m.R, Kind: lwm2m.KindString}
	application = lwm2m.Resource{ID: SensorApplication, Name: "Application Type", Operations: lwm2m.RW, Kind: lwm2m.KindString}
)

func float(id uint16, name, unit string) lwm2m.Resource {
	return lwm2m.Resource{ID: id, Name: name, Operations: lwm2m.R, Kind: lwm2m.KindFloat, Units: unit}
}

func mandatory(r lwm2m.Resource) lwm2m.Resource { r.Mandatory = true; return r }

// Sensor is an IPSO sensor object for readings of any number of instances.
type Sensor struct{ *Memory }

// NewSensor makes the object with id 3300 to 3350; instances appear with their
// first reading.
func NewSensor(id uint16) Sensor { return Sensor{NewMemory(SensorDefinition(id))} }

// Record is the record of one reading, as [lwm2m.Client.Send] takes it: of the object's
// mandatory value.
func (s Sensor) Record(instance uint16, value float64, at time.Time) lwm2m.Record {
	d := s.Definition()
	main := d.Resources[slices.IndexFunc(d.Resources, func(r lwm2m.Resource) bool { return r.Mandatory })]
	return lwm2m.Record{Path: lwm2m.NewPath(d.ID, instance, main.ID), Value: lwm2m.Float(value), Time: at}
}

// Reading keeps one reading and gives the paths that changed, for
// [lwm2m.Client.Changed]. It is the object's mandatory value: the X value of 3313 and
// 3314, the active power of 3305; [Memory.Set] sets others. A unit is left out if it
// is empty or the object has none.
func (s Sensor) Reading(instance uint16, value float64, unit string, at time.Time) []lwm2m.Path {
	d := s.Definition()
	base := lwm2m.NewPath(d.ID, instance)
	records := []lwm2m.Record{
		s.Record(instance, value, at),
		{Path: base.Child(SensorTimestamp), Value: lwm2m.Time(at)},
	}
	if _, ok := d.Resource(SensorUnits); ok && unit != "" {
		records = append(records, lwm2m.Record{Path: base.Child(SensorUnits), Value: lwm2m.String(unit)})
	}
	s.Set(records...)
	return []lwm2m.Path{base}
}
