package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// lookInterval is how often a follower reads the whole twin: what happened before
// its stream of events began is in no event.
const lookInterval = 2 * time.Second

// A follower keeps the twin of a device as the hub has it.
type follower struct {
	twin *iothub.Twin // as known so far

	ctx    context.Context
	hub    *iothub.Client
	device string
	events chan iothub.Event
	failed chan error
}

// begin follows until ctx is done.
func (f *follower) begin(ctx context.Context, hub *iothub.Client, device string) {
	f.ctx, f.hub, f.device, f.events, f.failed = ctx, hub, device, make(chan iothub.Event), make(chan error, 1)
	go func() {
		for event, err := range hub.Events(ctx, device, "") {
			if err != nil {
				f.failed <- err
				return
			}
			select {
			case f.events <- event:
			case <-ctx.Done():
				f.failed <- ctx.Err()
				return
			}
		}
	}()
}

// next waits until the twin may have changed; its error is that of ctx, or the
// hub's.
func (f *follower) next() error {
	select {
	case event := <-f.events:
		return f.take(event)
	case <-time.After(lookInterval):
		return f.read()
	case err := <-f.failed:
		return err
	}
}

// take brings the twin up to date with an event, or reads it anew if the event
// is not the next.
func (f *follower) take(event iothub.Event) error {
	var change iothub.TwinChange
	if event.Type != iothub.EventTwinChanged || json.Unmarshal(event.Body, &change) != nil || change.Version <= f.twin.Version {
		return nil
	}
	if change.Version > f.twin.Version+1 {
		return f.read()
	}
	f.twin.Version = change.Version
	f.twin.Properties.Reported = merge(f.twin.Properties.Reported, change.Properties.Reported)
	return nil
}

func (f *follower) read() error {
	twin, err := f.hub.Twin(f.ctx, f.device)
	if err != nil {
		return err
	}
	if twin.Version > f.twin.Version {
		f.twin = twin
	}
	return nil
}

// merge applies a merge patch (RFC 7396) to a document.
func merge(document, patch map[string]any) map[string]any {
	if document == nil {
		document = map[string]any{}
	}
	for key, v := range patch {
		inner, isMap := v.(map[string]any)
		switch {
		case v == nil:
			delete(document, key)
		case isMap:
			old, _ := document[key].(map[string]any)
			document[key] = merge(old, inner)
		default:
			document[key] = v
		}
	}
	return document
}
