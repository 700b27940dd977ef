// Package reported is the document that a device reports of itself in its twin, as the bridge writes it (the twin's
// `properties.reported`, or what of it people and applications ask for). What a device reports may be anything: what is
// not in the document is the zero value here, and what is there beyond it is ignored.
package reported

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// States of a device.
const (
	Online      = "online"
	Offline     = "offline"
	Updating    = "updating"
	Malfunction = "malfunction"
)

// A Document is what a device reports.
type Document struct {
	State      string               `json:"state,omitempty"`
	Mode       string               `json:"mode,omitempty"`   // "safe": its agent starts no update; or ""
	Fault      string               `json:"fault,omitempty"`  // why it is safe
	Sleeps     json.RawMessage      `json:"sleeps,omitempty"` // there is one if it listens only now and then
	Components map[string]Component `json:"components,omitempty"`
	Refused    map[string]string    `json:"refused,omitempty"` // what it was asked for and does not do, by path
}

// A Component is what is installed on a device under one name.
type Component struct {
	Version string   `json:"version,omitempty"` // "" if it is not installed
	Schema  int      `json:"schema,omitempty"`
	Running bool     `json:"running"`
	Stale   bool     `json:"stale,omitempty"`   // its readings are those of before the update
	Object  string   `json:"object,omitempty"`  // "/5/0" or "/9/1", by which the bridge updates it, without an agent
	Update  *Update  `json:"update,omitempty"`  // the last one, perhaps under way
	Outcome *Outcome `json:"outcome,omitempty"` // of the last one that has ended

	Window     string            `json:"window,omitempty"`     // maintenance window, "" any time
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

// Previous is the version before the installed one, and the way back to it.
type Previous struct {
	Version string     `json:"version"`
	Schema  int        `json:"schema,omitempty"`
	Way     string     `json:"way"`            // "transforms", "saved state", "no state" or "none"
	Note    string     `json:"note,omitempty"` // what is lost on it
	SavedAt *time.Time `json:"savedAt,omitempty"`
}

// An Update is one change of a component.
type Update struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind,omitempty"` // "update", "rollback", "restore", "remove" or "repair"; known at its end
	To         string     `json:"to,omitempty"`   // version
	Phase      string     `json:"phase,omitempty"`
	Step       string     `json:"step,omitempty"`
	Progress   float64    `json:"progress,omitempty"` // 0 to 1
	Back       bool       `json:"back,omitempty"`     // it turns back: the step is being undone
	Bytes      int64      `json:"bytes,omitempty"`    // downloaded
	Size       int64      `json:"size,omitempty"`     // of these
	Slow       int64      `json:"slow,omitempty"`     // bytes a second of a download that is slow
	For        string     `json:"waitingFor,omitempty"`
	ForUntil   *time.Time `json:"waitingUntil,omitempty"`
	Until      *time.Time `json:"unavailableUntil,omitempty"`
	Predicted  float64    `json:"predicted,omitempty"` // downtime, seconds; 0 is unknown
	Downtime   *float64   `json:"downtime,omitempty"`  // measured, seconds; known at its end
	Result     string     `json:"result,omitempty"`    // "" while it goes on
	Cancelled  bool       `json:"cancelled,omitempty"` // somebody wanted it to turn back
	Cause      string     `json:"cause,omitempty"`
	Rest       string     `json:"rest,omitempty"`       // "tranquil", "unknown" or "forced": how it was stopped
	RestReason string     `json:"restReason,omitempty"` // why it was not tranquil
	Stopped    string     `json:"stopped,omitempty"`    // dependants that do not, or did not, run meanwhile
	Warnings   string     `json:"warnings,omitempty"`   // what is probably not meant so
}

// An Outcome is an update that has ended.
type Outcome struct {
	Update
	From            string    `json:"from,omitempty"`            // version before
	At              time.Time `json:"at,omitzero"`               // when it ended, if the device says so
	Missed          int       `json:"missed,omitempty"`          // outcomes before it that the device had no room to keep
	PredictionError float64   `json:"predictionError,omitempty"` // how much longer it was away than predicted, seconds
}

// Going tells whether the update is under way.
func (u *Update) Going() bool { return u != nil && u.ID != "" && u.Result == "" }

// Failed tells whether it has ended without what was asked for.
func (u *Update) Failed() bool {
	return u != nil && u.Result != "" && !slices.Contains([]string{"updated", "unchanged", "removed"}, u.Result)
}

// Decode reads the properties of a twin, or a part of them such as a component, into one of these types.
func Decode(properties, into any) error {
	text, err := json.Marshal(properties)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("cannot understand what the device reports: %w", err)
	}
	return nil
}
