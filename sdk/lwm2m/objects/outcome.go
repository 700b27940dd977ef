package objects

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// An Outcome tells how an update has ended: the JSON text of resource
// ComponentOutcome.
type Outcome struct {
	ID        string    `json:"id"` // of the update: acknowledge with it
	From      string    `json:"from,omitempty"`
	To        string    `json:"to,omitempty"`
	Result    string    `json:"result"`              // "updated", "removed", "turned back", "refused", "unchanged", "inconsistent"
	Cause     string    `json:"cause,omitempty"`     // and what to do
	Step      string    `json:"step,omitempty"`      // that failed
	Downtime  float64   `json:"downtime,omitempty"`  // seconds
	Predicted float64   `json:"predicted,omitempty"` // downtime that was predicted, seconds; 0 none
	Rest      string    `json:"rest,omitempty"`      // "tranquil", or "unknown: " or "forced: " and why
	At        time.Time `json:"at,omitzero"`
	Stopped   []string  `json:"stopped,omitempty"` // dependants that did not run meanwhile
	Missed    int       `json:"missed,omitempty"`  // outcomes before this one that nobody acknowledged until there was no more room
}

// MaxOutcome bounds the text of an outcome, in bytes.
const MaxOutcome = 4096

// Encode returns the text of the resource. A longer cause is cut.
func (o Outcome) Encode() string {
	for {
		b, err := json.Marshal(o)
		if err == nil && len(b) <= MaxOutcome {
			return string(b)
		}
		if o.Cause == "" && o.Stopped == nil {
			return "" // no update has such names
		}
		if len(o.Stopped) > maxDependants {
			o.Stopped = append(o.Stopped[:maxDependants:maxDependants], "…")
			continue
		}
		if o.Cause == "" {
			o.Stopped = nil
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
