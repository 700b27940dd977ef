package lwm2m

import (
	"context"
	"time"
)

// ServerDefinition is object 1, Server, version 1.0: what the Client has about
// the server it belongs to.
var ServerDefinition = Definition{
	ID: 1, Name: "LwM2M Server", Multiple: true,
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
	},
}

// serverObject is object 1 of a device: one instance, its only server.
type serverObject struct{ client *Client }

// Definition implements [Object].
func (*serverObject) Definition() Definition { return ServerDefinition }

// Instances implements [Object].
func (*serverObject) Instances() []uint16 { return []uint16{0} }

// Read implements [Object].
func (o *serverObject) Read(_ context.Context, _ Path) ([]Record, error) {
	c := o.client
	c.mu.Lock()
	defer c.mu.Unlock()
	p := NewPath(ServerDefinition.ID, 0)
	return []Record{
		{Path: p.Child(0), Value: Int(int64(c.config.ShortID))},
		{Path: p.Child(1), Value: Int(int64(c.lifetime / time.Second))},
		{Path: p.Child(6), Value: Bool(true)},
		{Path: p.Child(7), Value: String(c.carried())},
	}, nil
}

// Write implements [Object]: the server may change the lifetime, nothing else.
func (o *serverObject) Write(_ context.Context, _ Path, _ WriteMode, records []Record) error {
	var lifetime time.Duration
	for _, r := range records {
		seconds := r.Value.Int()
		if r.Path.Resource() != 1 {
			return Errorf(CodeMethodNotAllowed, "%v cannot be changed on this device", r.Path)
		}
		if seconds < 1 || seconds > 1<<31 {
			return Errorf(CodeBadRequest, "%d seconds is no lifetime", seconds)
		}
		lifetime = time.Duration(seconds) * time.Second
	}
	o.client.mu.Lock()
	defer o.client.mu.Unlock()
	if lifetime > 0 {
		o.client.lifetime = lifetime
		o.client.updateSoon()
	}
	return nil
}

// Execute implements [Object]: the registration update trigger.
func (o *serverObject) Execute(_ context.Context, p Path, _ string) error {
	if p.Resource() != 8 {
		return Errorf(CodeMethodNotAllowed, "%v cannot be executed on this device", p)
	}
	o.client.updateSoon()
	return nil
}
