package objects

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// An Outcome tells how an update has ended: the JSON text of resource
// ComponentOutcome.
type Outcome struct {
	ID        string    `json:"id"`             // of the update: acknowledge with it
	Kind      string    `json:"kind,omitempty"` // "update", "rollback", "restore", "remove"; "repair" after damage; "" if an older agent tells
	From      string    `json:"from,omitempty"`
	To        string    `json:"to,omitempty"`
	Result    string    `json:"result"`              // "updated", "removed", "turned back", "refused", "unchanged", "inconsistent"
	Cancelled bool      `json:"cancelled,omitempty"` // somebody wanted it to turn back
	Cause     string    `json:"cause,omitempty"`     // and what to do
	Step      string    `json:"step,omitempty"`      // that failed
	Downtime  float64   `json:"downtime,omitempty"`  // seconds
	Predicted float64   `json:"predicted,omitempty"` // downtime that was predicted, seconds; 0 none
	Rest      string    `json:"rest,omitempty"`      // "tranquil", or "unknown: " or "forced: " and why
	At        time.Time `json:"at,omitzero"`
	Stopped   []string  `json:"stopped,omitempty"`  // dependants that did not run meanwhile
	Warnings  []string  `json:"warnings,omitempty"` // what is probably not meant so, in words
	Missed    int       `json:"missed,omitempty"`   // outcomes before this one that nobody acknowledged until there was no more room
}

// MaxOutcome bounds the text of an outcome, in bytes.
const MaxOutcome = 4096

// Of warnings, so many are told, and of each so many bytes.
const (
	maxWarnings = 4
	maxWarning  = 256
)

// cut bounds the warnings.
func cut(warnings []string) (short []string) {
	for i, w := range warnings {
		if i == maxWarnings {
			return append(short, fmt.Sprintf("and %d more", len(warnings)-i))
		}
		if len(w) > maxWarning {
			w = strings.ToValidUTF8(w[:maxWarning], "") + "…"
		}
		short = append(short, w)
	}
	return short
}

// Encode returns the text of the resource. Longer warnings, and a longer
// cause, are cut.
func (o Outcome) Encode() string {
	o.Warnings = cut(o.Warnings)
	for {
		b, err := json.Marshal(o)
		if err == nil && len(b) <= MaxOutcome {
			return string(b)
		}
		if o.Cause == "" && o.Stopped == nil && o.Warnings == nil {
			return "" // no update has such names
		}
		if len(o.Stopped) > maxDependants {
			o.Stopped = append(o.Stopped[:maxDependants:maxDependants], "…")
			continue
		}
		if o.Cause == "" {
			o.Stopped, o.Warnings = nil, nil
			continue
		}
		o.Cause = o.Cause[:len(o.Cause)/2]
	}
}

// DecodeOutcome reads the text of the resource.
func DecodeOutcome(text string) (o Outcome, err error) {
	if len(text) > MaxOutcome {
		return o, fmt.Errorf("cannot read outcome: %d bytes are more than %d", len(text), MaxOutcome)
	}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return o, fmt.Errorf("cannot read outcome: %w", err)
	}
	switch {
	case o.ID == "" || o.Result == "":
		return o, errors.New("cannot read outcome: it has no id or no result")
	case math.Abs(o.Downtime) > 1e9 || math.Abs(o.Predicted) > 1e9:
		return o, errors.New("cannot read outcome: no downtime is so long")
	}
	return o, nil
}
