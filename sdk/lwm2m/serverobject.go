package lwm2m

import (
	"context"
	"time"
)

// ServerDefinition is object 1, Server, version 1.1, as far as it goes without a bootstrap
// server's part: what the Client has about the server it belongs to.
var ServerDefinition = Definition{
	ID: 1, Name: "LwM2M Server", Version: "1.1", Multiple: true,
	Resources: []Resource{
		{ID: 0, Name: "Short Server ID", Operations: R, Kind: KindInteger, Mandatory: true},
		{ID: 1, Name: "Lifetime", Operations: RW, Kind: KindInteger, Mandatory: true, Units: "s"},
		{ID: 2, Name: "Default Minimum Period", Operations: RW, Kind: KindInteger, Units: "s"},
		{ID: 3, Name: "Default Maximum Period", Operations: RW, Kind: KindInteger, Units: "s"},
		{ID: 4, Name: "Disable", Operations: E},
		{ID: 5, Name: "Disable Timeout", Operations: RW, Kind: KindInteger, Units: "s"},
		{ID: 6, Name: "Notification Storing When Disabled or Offline", Operations: RW, Kind: KindBoolean, Mandatory: true},
		{ID: 7, Name: "Binding", Operations: RW, Kind: KindString, Mandatory: true},
		{ID: 8, Name: "Registration Update Trigger", Operations: E, Mandatory: true},
		{ID: 23, Name: "Mute Send", Operations: RW, Kind: KindBoolean},
	},
}

// What servers may set of object 1, until the device starts anew.
type serverSettings struct {
	lifetime       time.Duration
	minPeriod      time.Duration // of observations that have none of their own
	maxPeriod      time.Duration // 0: none
	disableTimeout time.Duration
	muted          bool // nothing is sent unasked
}

// defaultDisableTimeout is that of OMA LwM2M 1.1.
const defaultDisableTimeout = 24 * time.Hour

// serverObject is object 1 of a device: one instance, its only server.
type serverObject struct{ client *Client }

// Definition implements [Object]: LwM2M 1.0 has version 1.0, without Mute Send.
func (o *serverObject) Definition() Definition {
	d := ServerDefinition
	if o.client.config.Version == "1.0" {
		d.Version, d.Resources = "1.0", d.Resources[:len(d.Resources)-1]
	}
	return d
}

// Instances implements [Object].
func (*serverObject) Instances() []uint16 { return []uint16{0} }

// Read implements [Object].
func (o *serverObject) Read(_ context.Context, _ Path) ([]Record, error) {
	c := o.client
	c.mu.Lock()
	defer c.mu.Unlock()
	p := NewPath(ServerDefinition.ID, 0)
	all := []Record{
		{Path: p.Child(0), Value: Int(int64(c.config.ShortID))},
		{Path: p.Child(1), Value: inSeconds(c.server.lifetime)},
		{Path: p.Child(2), Value: inSeconds(c.server.minPeriod)},
		{Path: p.Child(3), Value: inSeconds(c.server.maxPeriod)},
		{Path: p.Child(5), Value: inSeconds(c.server.disableTimeout)},
		{Path: p.Child(6), Value: Bool(true)},
		{Path: p.Child(7), Value: String(c.carried())},
	}
	if c.config.Version != "1.0" {
		all = append(all, Record{Path: p.Child(23), Value: Bool(c.server.muted)})
	}
	return all, nil
}

func inSeconds(d time.Duration) Value { return Int(int64(d / time.Second)) }

// Write implements [Object]. Notifications are always stored, and the binding is what
// the device has.
func (o *serverObject) Write(_ context.Context, _ Path, _ WriteMode, records []Record) error {
	c := o.client
	c.mu.Lock()
	defer c.mu.Unlock()
	settings := c.server
	for _, r := range records {
		if err := settings.set(r); err != nil {
			return err
		}
	}
	longer := settings.lifetime != c.server.lifetime
	c.server = settings
	for _, w := range c.watches {
		w.reconsider()
	}
	if longer {
		c.updateSoon()
	}
	return nil
}

// set takes one resource.
func (s *serverSettings) set(r Record) error {
	seconds := r.Value.Int()
	period := time.Duration(seconds) * time.Second
	least := int64(0)
	switch r.Path.Resource() {
	case 1:
		s.lifetime, least = period, 1
	case 2:
		s.minPeriod = period
	case 3:
		s.maxPeriod = period
	case 5:
		s.disableTimeout = period
	case 23:
		s.muted = r.Value.Bool()
		return nil
	default:
		return Errorf(CodeMethodNotAllowed, "%v cannot be changed on this device", r.Path)
	}
	if seconds < least || seconds > 1<<31 {
		return Errorf(CodeBadRequest, "%d seconds cannot be meant for %v", seconds, r.Path)
	}
	return nil
}

// Execute implements [Object]: the registration update trigger, and Disable, after
// which the device is not registered for a while.
func (o *serverObject) Execute(_ context.Context, p Path, _ string) error {
	switch p.Resource() {
	case 4:
		signal(o.client.disable)
	case 8:
		o.client.updateSoon()
	default:
		return Errorf(CodeMethodNotAllowed, "%v cannot be executed on this device", p)
	}
	return nil
}
