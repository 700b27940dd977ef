// Package device is the device manager: it shows the device, its components
// and their readings to an LwM2M server, and takes the server's wishes.
//
// Objects: 1 Server, 3 Device and 4 Connectivity Monitoring; 9 Software
// Management and 26250 Component Update with one instance per component each; 5
// Firmware Update for one of them, if it is named; IPSO sensors for what the
// components publish. What the resources say is taken from the manager's
// view of a component whenever that changes; nothing is kept here.
package device

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// Components is what the device manager shows and steers.
type Components interface {
	View(component string) (engine.View, error)
	Want(component string, change func(*engine.Wishes)) error
	CheckNow(component string) error
	Cancel(component string) error
	Repairs
}

// Repairs are asked for by number, and done once for each.
type Repairs interface {
	RepairOnce(number int64) error // of the agent
	MendOnce(component string, number int64, c engine.Choice) error
}

// An Outbox holds the outcomes that nobody has acknowledged.
type Outbox interface {
	Oldest(component string) (engine.Outcome, bool, error)
	Acknowledge(component, update string) error
}

// Config of a device.
type Config struct {
	Endpoint   string   // LwM2M endpoint name, the device's identity in the hub
	Server     string   // "coap://host:5683"
	Also       []string // other servers, see [lwm2m.ClientConfig]
	Lifetime   time.Duration
	Registered func(yes bool) // hears when the device becomes registered, and when it is not any more; it must not block. May be nil
	Version    string         // of the agent
	Components []string
	Manager    Components
	Schedule   func(expr string) error // says why a schedule cannot be used
	Window     func(string) error      // why a maintenance window cannot be used
	Outbox     Outbox
	Deliveries Deliveries
	Firmware   string        // the component that object 5 is about; "" there is no object 5
	CoAPS      bool          // packages can come over coaps: the device has a key or a certificate
	CoAPTLS    bool          // and over coaps+tcp: it has a certificate
	Data       string        // directory on the disk that updates go to
	Reboot     func() error  // returns when it will be done; nil: it is not offered
	Remind     time.Duration // how often the server is told of what it has not acknowledged; 0: 30 s
	Log        *slog.Logger
}

// A Device is an LwM2M client with the objects of this device.
type Device struct {
	Config
	client   *lwm2m.Client
	hardware *hardware
	firmware *objects.Memory
	software *objects.Memory
	updates  *objects.Memory
	sensors  map[uint16]objects.Sensor
	showing  sync.Mutex

	mu     sync.Mutex
	logins map[string]login // by component
	faults map[string]int64 // error codes of what is wrong now
	known  map[string]bool  // which of that a server has reset
}

// New makes the device's objects; [Device.Run] registers it.
func New(c Config) (*Device, error) {
	d := &Device{
		Config: c, hardware: newHardware(c), firmware: objects.NewMemory(objects.Firmware), software: objects.NewMemory(objects.SoftwareManagement),
		updates: objects.NewMemory(objects.ComponentUpdate), sensors: map[uint16]objects.Sensor{}, logins: map[string]login{},
	}
	slices.Sort(d.Components)
	d.updates.OnWrite, d.updates.OnExecute = d.write, d.execute
	d.hardware.OnExecute = d.executeHardware
	d.software.OnWrite, d.software.OnExecute, d.software.OnStream = d.writeSoftware, d.executeSoftware, d.softwareStream
	d.firmware.OnWrite, d.firmware.OnExecute, d.firmware.OnStream = d.writeFirmware, d.executeFirmware, d.firmwareStream
	all := []lwm2m.Object{d.hardware, newConnectivity(), d.software, d.updates}
	if c.Firmware != "" {
		all = append(all, d.firmware)
	}
	for id := range objects.Model() {
		if id >= firstSensor && id <= lastSensor {
			d.sensors[id] = objects.NewSensor(id)
			all = append(all, d.sensors[id])
		}
	}
	client, err := lwm2m.NewClient(lwm2m.ClientConfig{
		Endpoint: c.Endpoint, Server: c.Server, Also: c.Also, Lifetime: c.Lifetime, Objects: all, OnRegistered: c.Registered, Logger: c.Log,
	})
	d.client = client
	return d, err
}

// IPSO sensors are the objects from firstSensor to lastSensor.
const (
	firstSensor = 3300
	lastSensor  = 3350
)

// Move gives the device another server, for the next [Device.Run].
func (d *Device) Move(a lwm2m.Account) error { return d.client.Move(a) }

// Server is whom the device is registered with, or asks for that now.
func (d *Device) Server() string { return d.client.Server() }

// Run keeps the device registered, and outcomes told, until ctx ends. It may be
// called again when it has returned.
func (d *Device) Run(ctx context.Context, t lwm2m.Transport) error {
	for _, c := range d.Components {
		d.Changed(c)
	}
	ctx, cancel := context.WithCancel(ctx)
	var reminding sync.WaitGroup
	reminding.Go(func() { d.remind(ctx) })
	defer reminding.Wait()
	defer cancel()
	return d.client.Run(ctx, t)
}

// Changed takes over what the manager says of a component, and has the server
// notified.
func (d *Device) Changed(component string) {
	d.showing.Lock() // else older news could come last
	defer d.showing.Unlock()
	i, found := slices.BinarySearch(d.Components, component)
	if !found {
		return
	}
	v, err := d.Manager.View(component)
	if err != nil {
		d.Log.Error("cannot show component", "component", component, "error", err)
		return
	}
	d.updates.Set(updateRecords(uint16(i), v)...)
	d.updates.SetValue(uint16(i), objects.ComponentOutcome, lwm2m.String(d.oldest(component)))
	d.software.Set(softwareRecords(uint16(i), v)...)
	d.client.Changed(lwm2m.NewPath(objects.ComponentUpdateID, uint16(i)), lwm2m.NewPath(objects.SoftwareManagementID, uint16(i)))
	if component == d.Firmware {
		d.firmware.Set(append(firmwareRecords(v), d.protocols()...)...)
		d.hardware.SetValue(0, objects.DeviceFirmwareVersion, lwm2m.String(v.Installed.Version))
		d.client.Changed(lwm2m.NewPath(objects.FirmwareID, 0), lwm2m.NewPath(objects.DeviceID, 0, objects.DeviceFirmwareVersion))
	}
	if v.Progress == nil {
		d.showFaults()
	}
}

// Announce returns when the server knows what is to be known of a component,
// or when ctx ends.
func (d *Device) Announce(ctx context.Context, component string) {
	d.Changed(component)
	if err := d.client.Deliver(ctx, d.instance(component)); err != nil {
		d.Log.Warn("cannot announce, the server does not listen", "component", component, "error", err)
	}
}

func (d *Device) instance(component string) lwm2m.Path {
	i, _ := slices.BinarySearch(d.Components, component)
	return lwm2m.NewPath(objects.ComponentUpdateID, uint16(i))
}

// Publish shows a component's reading as an IPSO sensor, with the component's
// name as its application type, so that whoever reads it knows whose update
// makes it stale.
func (d *Device) Publish(r component.Reading) error {
	if !slices.Contains(d.Components, r.Component) {
		return fmt.Errorf("this device has no component %q", r.Component)
	}
	if r.Object < firstSensor || r.Object > lastSensor || r.Instance < 0 || r.Instance > maxInstance {
		return fmt.Errorf("no sensor /%d/%d: want an IPSO object from %d to %d, and an instance up to %d", r.Object, r.Instance, firstSensor, lastSensor, maxInstance)
	}
	s, known := d.sensors[uint16(r.Object)]
	if !known {
		return fmt.Errorf("IPSO object %d is no sensor that this agent knows", r.Object)
	}
	owner := lwm2m.NewPath(uint16(r.Object), uint16(r.Instance), objects.SensorApplication)
	if other := s.Value(owner).Text(); other != "" && other != r.Component {
		return fmt.Errorf("sensor /%d/%d is a sensor of %s: publish as another instance", r.Object, r.Instance, other)
	}
	isNew := !slices.Contains(s.Instances(), uint16(r.Instance))
	s.Set(lwm2m.Record{Path: owner, Value: lwm2m.String(r.Component)})
	d.client.Changed(s.Reading(uint16(r.Instance), r.Value, r.Unit, r.Time)...)
	if isNew {
		d.client.ObjectsChanged()
	}
	return nil
}

// Send gives the server each of these readings, and first whose they are.
func (d *Device) Send(ctx context.Context, readings []component.Reading) error {
	var owners, values []lwm2m.Record
	for _, r := range readings {
		s, known := d.sensors[uint16(r.Object)]
		if !known {
			continue
		}
		owner := lwm2m.Record{Path: lwm2m.NewPath(uint16(r.Object), uint16(r.Instance), objects.SensorApplication), Value: lwm2m.String(r.Component)}
		if !slices.Contains(owners, owner) {
			owners = append(owners, owner)
		}
		values = append(values, s.Record(uint16(r.Instance), r.Value, r.Time))
	}
	if len(values) == 0 {
		return nil
	}
	return d.client.Send(ctx, append(owners, values...)...)
}

// Deliver returns when the server has the readings of a component, or ctx
// ends.
func (d *Device) Deliver(ctx context.Context, component string) error {
	var paths []lwm2m.Path
	for id, s := range d.sensors {
		for _, i := range s.Instances() {
			if s.Value(lwm2m.NewPath(id, i, objects.SensorApplication)).Text() == component {
				paths = append(paths, lwm2m.NewPath(id, i))
			}
		}
	}
	return d.client.Deliver(ctx, paths...)
}

// maxInstance bounds how many sensors of a kind components may invent.
const maxInstance = 63
