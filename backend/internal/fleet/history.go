package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/reported"
)

// An Outcome is how an update has ended.
type Outcome struct {
	Component string `json:"component"`
	reported.Outcome
}

// History lists how the updates of a device have ended, the newest first, as far back as the hub keeps events.
func (f *Fleet) History(ctx context.Context, id string) ([]Outcome, error) {
	if _, err := f.Devices.Device(ctx, id); err != nil {
		return nil, err
	}
	outcomes := []Outcome{}
	for event, err := range f.Devices.Past(ctx, id) {
		if err != nil {
			return nil, err
		}
		ended, err := outcomesOf(event)
		if err != nil {
			f.Log.Warn("an event is not understood", "device", id, "event", event.Sequence, "error", err)
		}
		outcomes = append(outcomes, ended...)
	}
	slices.Reverse(outcomes)
	return outcomes, nil
}

func outcomesOf(event twin.Event) (outcomes []Outcome, err error) {
	if event.Type != twin.TwinChanged {
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
	if err := json.Unmarshal(event.Body, &change); err != nil {
		return nil, fmt.Errorf("cannot read change: %w", err)
	}
	components := change.Properties.Reported.Components
	for _, name := range slices.Sorted(maps.Keys(components)) {
		if len(components[name].Outcome) == 0 {
			continue
		}
		o := Outcome{Component: name, Outcome: reported.Outcome{At: event.Time}} // unless the device says when
		if err := json.Unmarshal(components[name].Outcome, &o); err != nil {
			return outcomes, fmt.Errorf("cannot read outcome: %w", err)
		}
		if o.ID != "" {
			outcomes = append(outcomes, o)
		}
	}
	return outcomes, nil
}
