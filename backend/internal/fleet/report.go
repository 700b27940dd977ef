package fleet

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
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
	Name    string  `json:"name"`
	Version string  `json:"version,omitempty"` // "" if it is not installed
	Schema  int     `json:"schema,omitempty"`
	Running bool    `json:"running"`
	Masking Masking `json:"masking"`
	Object  string  `json:"object,omitempty"` // by which the bridge updates it, without an agent
	Update  *Update `json:"update,omitempty"` // the last one, perhaps under way

	Wanted     string            `json:"wanted,omitempty"`     // version that was asked for
	Window     string            `json:"window,omitempty"`     // maintenance window
	Consent    string            `json:"consent,omitempty"`    // "ask…": updates wait for it
	Check      string            `json:"check,omitempty"`      // schedule by which it looks for newer versions
	Dependants map[string]string `json:"dependants,omitempty"` // what they may want when it is updated
	Previous   *Previous         `json:"previous,omitempty"`
	Trust      *Trust            `json:"trust,omitempty"`
	States     map[string]State  `json:"states,omitempty"`   // saved, by generation
	Repaired   int64             `json:"repaired,omitempty"` // number of the last repair that has ended
}

// Trust is what a device knows of the signatures for a component's packages.
type Trust struct {
	Timestamp int64  `json:"timestamp,omitempty"` // version of the newest that it has seen: the second of Unix time in which it was signed, or more
	Trouble   string `json:"trouble,omitempty"`   // that somebody should see to
}

// A State is a saved one of a component.
type State struct {
	Version string    `json:"version"`
	Schema  int       `json:"schema"`
	SavedAt time.Time `json:"savedAt,omitzero"`
	Bytes   int64     `json:"bytes"`
	Damaged bool      `json:"damaged,omitempty"`
}

// Masking says what the readings of a component are worth now.
type Masking struct {
	State string     `json:"state"` // "live", "stale": it is being updated, or "offline"
	Since *time.Time `json:"since,omitempty"`
	Until *time.Time `json:"until,omitempty"` // when it is expected back
	Late  bool       `json:"late,omitempty"`  // that time has passed
}

// Previous is the version before, and the way back to it.
type Previous struct {
	Version string     `json:"version"`
	Way     string     `json:"way"` // "transforms", "saved state", "no state" or "none"
	Note    string     `json:"note,omitempty"`
	SavedAt *time.Time `json:"savedAt,omitempty"`
}

// An Update is one change of a component.
type Update struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind,omitempty"` // "update", "rollback", "restore", "remove", "repair"; known at its end
	To         string     `json:"to,omitempty"`
	Phase      string     `json:"phase,omitempty"`
	Step       string     `json:"step,omitempty"`
	Progress   float64    `json:"progress,omitempty"` // 0 to 1
	Back       bool       `json:"back,omitempty"`     // it turns back
	Bytes      int64      `json:"bytes,omitempty"`    // downloaded
	Size       int64      `json:"size,omitempty"`
	Slow       int64      `json:"slow,omitempty"` // bytes a second of a download that is slow
	For        string     `json:"waitingFor,omitempty"`
	ForUntil   *time.Time `json:"waitingUntil,omitempty"`
	Until      *time.Time `json:"unavailableUntil,omitempty"`
	Predicted  float64    `json:"predicted,omitempty"` // downtime, seconds
	Downtime   *float64   `json:"downtime,omitempty"`  // measured, seconds; known at its end
	Result     string     `json:"result,omitempty"`    // "" while it goes on
	Cancelled  bool       `json:"cancelled,omitempty"`
	Cause      string     `json:"cause,omitempty"`
	Rest       string     `json:"rest,omitempty"`
	RestReason string     `json:"restReason,omitempty"`
	Stopped    string     `json:"stopped,omitempty"` // dependants that do not run meanwhile
	Warnings   string     `json:"warnings,omitempty"`
}

// Going tells whether the update is under way.
func (u *Update) Going() bool { return u != nil && u.ID != "" && u.Result == "" }

// Failed tells whether it has ended without what was asked for.
func (u *Update) Failed() bool {
	return u != nil && u.Result != "" && !slices.Contains([]string{"updated", "unchanged", "removed"}, u.Result)
}

// reported is the document as the bridge writes it.
type reported struct {
	State      string               `json:"state"`
	Mode       string               `json:"mode"`
	Fault      string               `json:"fault"`
	Sleeps     json.RawMessage      `json:"sleeps"`
	Components map[string]component `json:"components"`
	Refused    map[string]string    `json:"refused"`
}

type component struct {
	Component
	Stale bool `json:"stale"`
}

// States of a device.
const (
	New         = "new"
	Online      = "online"
	Offline     = "offline"
	Updating    = "updating"
	Malfunction = "malfunction"
)

// Overview is what an operator sees of a device at a time.
func Overview(d twin.Device, now time.Time) Device { return understand(d).at(now) }

// understand is an overview without what depends on the time. What a device reports may be anything; what cannot be
// understood is left out, and Fault says so.
func understand(d twin.Device) Device {
	o := Device{
		ID: d.ID, Enabled: !d.Disabled, Connected: d.Connection.Connected, Since: d.Connection.Updated,
		Tags: d.Twin.Tags, Components: []Component{},
	}
	var r reported
	if err := convert(d.Twin.Reported.Values, &r); err != nil {
		r, o.Fault = reported{}, "it reports something that is not understood: "+err.Error()
	}
	o.State, o.Refused, o.Sleeps = stateOf(d, r), r.Refused, len(r.Sleeps) > 0
	if r.Mode != "" {
		o.Fault, o.Safe = r.Fault, r.Mode == "safe"
	}
	wishes, _ := d.Twin.Desired.Values["components"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(r.Components)) {
		c := r.Components[name]
		c.Name, c.Masking = name, mask(o.State, d, c)
		wish, _ := wishes[name].(map[string]any)
		c.Wanted, _ = wish["version"].(string)
		o.Components = append(o.Components, c.Component)
	}
	return o
}

// stateOf is what the device says, unless nobody hears of it.
func stateOf(d twin.Device, r reported) string {
	switch {
	case !d.Connection.Connected && d.Connection.Updated.IsZero():
		return New
	case !d.Connection.Connected:
		return Offline
	case r.State == "":
		return Online
	}
	return r.State
}

func mask(state string, d twin.Device, c component) Masking {
	switch {
	case state == New:
		return Masking{State: "offline"}
	case state == Offline:
		return Masking{State: "offline", Since: &d.Connection.Updated}
	case !c.Stale:
		return Masking{State: "live"}
	}
	m := Masking{State: "stale"}
	if c.Update != nil {
		m.Until = c.Update.Until
	}
	return m
}

// convert reads a part of a document as another type.
func convert(document, into any) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("cannot read what the device reports: %w", err)
	}
	return nil
}
