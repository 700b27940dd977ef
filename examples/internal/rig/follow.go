package rig

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// Follow yields what the device reports after each change, from the hub's
// events, until ctx ends or the consumer has seen enough.
func (s *System) Follow(ctx context.Context) iter.Seq2[Reported, error] {
	return func(yield func(Reported, error) bool) {
		twin, err := s.Hub.Twin(ctx, s.Device)
		if err != nil {
			yield(Reported{}, err)
			return
		}
		for event, err := range s.Hub.Events(ctx, s.Device, "") {
			if err == nil {
				twin, err = s.apply(ctx, twin, event)
			}
			if err != nil {
				yield(Reported{}, err)
				return
			}
			if reported, err := Decode(twin.Properties.Reported); !yield(reported, err) {
				return
			}
		}
	}
}

// apply brings the twin up to date. It is read afresh if a change was missed.
func (s *System) apply(ctx context.Context, twin *iothub.Twin, event iothub.Event) (*iothub.Twin, error) {
	var change iothub.TwinChange
	if event.Type != iothub.EventTwinChanged {
		return twin, nil
	}
	if err := json.Unmarshal(event.Body, &change); err != nil {
		return nil, err
	}
	switch {
	case change.Version > twin.Version+1:
		return s.Hub.Twin(ctx, s.Device)
	case change.Version == twin.Version+1:
		twin.Version = change.Version
		twin.Properties.Reported = merge(twin.Properties.Reported, change.Properties.Reported)
	}
	return twin, nil
}

// merge applies a JSON merge patch (RFC 7396) to an object.
func merge(document, patch map[string]any) map[string]any {
	if document == nil {
		document = map[string]any{}
	}
	for name, value := range patch {
		inner, isObject := value.(map[string]any)
		switch {
		case value == nil:
			delete(document, name)
		case isObject:
			old, _ := document[name].(map[string]any)
			document[name] = merge(old, inner)
		default:
			document[name] = value
		}
	}
	return document
}
