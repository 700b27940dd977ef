package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// Reported is what a device says of itself in its twin.
type Reported struct {
	State      string // "online", "offline", "updating", "malfunction"
	Mode       string // "safe": no update starts; "" all is well
	Fault      string // why
	Components map[string]Component
	Refused    map[string]string // desired path → why it was not understood
	LwM2M      map[string]map[string]map[string]Value
}

// Component is what a device says of one component.
type Component struct {
	Version string
	Schema  int
	Running bool
	Stale   bool
	Update  Update
	Outcome Outcome // the last one; it stays when the next update begins

	Previous   Previous
	Dependants map[string]string // what they may want when it is updated
}

// Outcome is how an update has ended.
type Outcome struct {
	ID, From, To, Result, Cause string
	Downtime, Predicted         float64 // seconds
	PredictionError             float64 // seconds longer than predicted
	Rest, RestReason            string  // "tranquil" or "forced", and why
	Stopped                     string  // dependants that did not run meanwhile
}

// Previous is the version before the installed one, and the way back to it.
type Previous struct {
	Version string
	Schema  int
	Way     string
	Note    string
	SavedAt *time.Time
}

// Update is the update in progress, or the last one.
type Update struct {
	ID               string
	To               string
	Phase            string
	Step             string
	Progress         float64 // 0 to 1
	UnavailableUntil *time.Time
	WaitingFor       string     // "" for nothing
	WaitingUntil     *time.Time // if it is known
	Result           string     // "" while it is in progress
	Cause            string
	Downtime         float64 // seconds
}

// Value is one LwM2M resource.
type Value struct {
	Value any
	TS    string
}

// Decode reads reported properties.
func Decode(section iothub.Section) (Reported, error) {
	var r Reported
	b, err := json.Marshal(section)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("cannot understand the reported properties: %w", err)
	}
	return r, nil
}

// Reported reads the twin.
func (s *System) Reported(ctx context.Context) (Reported, error) {
	twin, err := s.Hub.Twin(ctx, s.Device)
	if err != nil {
		return Reported{}, err
	}
	return Decode(twin.Properties.Reported)
}

// Await reads the twin until it says what is awaited, at most for limit.
func (s *System) Await(ctx context.Context, what string, limit time.Duration, fits func(Reported) bool) (Reported, error) {
	deadline := time.Now().Add(limit)
	for {
		r, err := s.Reported(ctx)
		if err == nil && fits(r) {
			return r, nil
		}
		if time.Now().After(deadline) {
			return r, fmt.Errorf("waited %s in vain until %s (last error: %v); the twin says %+v", limit, what, err, r)
		}
		select {
		case <-ctx.Done():
			return r, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
