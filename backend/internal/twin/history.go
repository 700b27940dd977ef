package twin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/reported"
)

// An Outcome is how an update has ended.
type Outcome struct {
	Component string `json:"component"`
	reported.Outcome
}

// A History is how the updates of a device have ended, the newest first.
type History struct {
	Outcomes []Outcome `json:"outcomes"`
	Since    time.Time `json:"since,omitzero"` // what ended before may be missing; zero: nothing is
}

// Outcomes are those that an event tells of: a change of what the device reports may have some, one for a component. An
// error is about what it has beside those that are answered.
func (e Event) Outcomes() (outcomes []Outcome, err error) {
	if e.Type != TwinChanged || !bytes.Contains(e.Body, []byte(`"outcome"`)) {
		return nil, nil
	}
	var change struct {
		Properties struct {
			Reported struct {
				Components map[string]struct {
					Outcome json.RawMessage `json:"outcome"`
				} `json:"components"`
			} `json:"reported"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(e.Body, &change); err != nil {
		return nil, fmt.Errorf("cannot read change: %w", err)
	}
	components := change.Properties.Reported.Components
	for _, name := range slices.Sorted(maps.Keys(components)) {
		if len(components[name].Outcome) == 0 {
			continue
		}
		o := Outcome{Component: name, Outcome: reported.Outcome{At: e.Time}} // unless the device says when
		if err := json.Unmarshal(components[name].Outcome, &o.Outcome); err != nil {
			return outcomes, fmt.Errorf("cannot read outcome: %w", err)
		}
		if o.ID != "" {
			outcomes = append(outcomes, o)
		}
	}
	return outcomes, nil
}
