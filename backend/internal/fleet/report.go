package fleet

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/reported"
)

// A Device is what an operator sees of one at a glance.
type Device struct {
	ID         string            `json:"id"`
	Enabled    bool              `json:"enabled"`
	State      string            `json:"state"` // "new", "online", "updating", "offline", "malfunction"
	Connected  bool              `json:"connected"`
	Since      time.Time         `json:"since,omitzero"`   // when it was connected, or has gone
	Fault      string            `json:"fault,omitempty"`  // why its agent starts no update
	Safe       bool              `json:"safe,omitempty"`   // its agent waits for a repair
	Sleeps     bool              `json:"sleeps,omitempty"` // it listens only now and then
	Tags       map[string]any    `json:"tags,omitempty"`
	Components []Component       `json:"components"`        // by name
	Refused    map[string]string `json:"refused,omitempty"` // what it was asked for and does not do, by path
}

// A Component is what is installed on a device under one name.
type Component struct {
	Name string `json:"name"`
	reported.Component
	Masking Masking `json:"masking"`
	Wanted  string  `json:"wanted,omitempty"` // version that was asked for
}

// Masking says what the readings of a component are worth now.
type Masking struct {
	State string     `json:"state"` // "live", "stale": it is being updated, or does not run, or "offline"
	Since *time.Time `json:"since,omitempty"`
	Until *time.Time `json:"until,omitempty"` // when it is expected back
	Late  bool       `json:"late,omitempty"`  // that time has passed
}

// New is the state of a device that was never there; the others are those of reported.
const New = "new"

// Overview is what an operator sees of a device at a time.
func Overview(d twin.Device, now time.Time) Device { return understand(d).at(now) }

// understand is an overview without what depends on the time. What a device reports may be anything; what cannot be
// understood is left out, and Fault says so.
func understand(d twin.Device) Device {
	o := Device{
		ID: d.ID, Enabled: !d.Disabled, Connected: d.Connection.Connected, Since: d.Connection.Updated,
		Tags: d.Twin.Tags, Components: []Component{},
	}
	var r reported.Document
	if err := reported.Decode(d.Twin.Reported.Values, &r); err != nil {
		r, o.Fault = reported.Document{}, err.Error()
	}
	o.State, o.Refused, o.Sleeps = stateOf(d, r), r.Refused, len(r.Sleeps) > 0
	if d.Overdue != nil {
		o.Fault = fmt.Sprintf("the update of %s should have been over long ago, and nothing has been heard of its end", d.Overdue.Component)
	}
	if r.Mode != "" {
		o.Fault, o.Safe = r.Fault, r.Mode == "safe"
	}
	wishes, _ := d.Twin.Desired.Values["components"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(r.Components)) {
		c := Component{Name: name, Component: r.Components[name]}
		c.Masking, c.Outcome = mask(d, c.Component), nil // those are in the history
		wish, _ := wishes[name].(map[string]any)
		c.Wanted, _ = wish["version"].(string)
		o.Components = append(o.Components, c)
	}
	return o
}

// stateOf is what the device says, unless nobody hears of it.
func stateOf(d twin.Device, r reported.Document) string {
	switch {
	case d.Overdue != nil:
		return reported.Malfunction
	case !d.Connection.Connected && d.Connection.Updated.IsZero():
		return New
	case !d.Connection.Connected:
		return reported.Offline
	case r.State == "":
		return reported.Online
	}
	return r.State
}

func mask(d twin.Device, c reported.Component) Masking {
	switch away := !d.Connection.Connected; {
	case away && d.Connection.Updated.IsZero():
		return Masking{State: "offline"}
	case away && (d.Overdue == nil || !c.Stale): // else it is known since when, and that it is late
		return Masking{State: "offline", Since: &d.Connection.Updated}
	case !c.Stale && (c.Running || c.Object != ""): // without an agent nobody says what stands still
		return Masking{State: "live"}
	}
	m := Masking{State: "stale"}
	if c.Update != nil {
		m.Until = c.Update.Until
	}
	return m
}
