package iothub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
)

// Follow tells the twin of a device or module as it is, and then after each change, without missing one: it is read
// when the stream of events has begun, and again after a gap. When the hub is away it waits for it. It ends, with an
// error, when ctx is done or the hub refuses. Each twin is a value of its own.
func (c *Client) Follow(ctx context.Context, id string) iter.Seq2[*Twin, error] {
	return func(yield func(*Twin, error) bool) {
		var twin *Twin
		for event, err := range c.told(ctx, id, "") {
			changed := true
			switch {
			case err != nil:
			case twin == nil || event.Type == opened || event.Lost > 0:
				twin, err = c.read(ctx, id)
			default:
				twin, changed, err = c.after(ctx, twin, event)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if changed && !yield(twin, nil) {
				return
			}
		}
	}
}

// after is a twin after an event. What a back end has changed is read: the event lacks the new ETag.
func (c *Client) after(ctx context.Context, twin *Twin, event Event) (after *Twin, changed bool, err error) {
	if event.Type != EventTwinChanged {
		return twin, false, nil
	}
	var change TwinChange
	if err := json.Unmarshal(event.Body, &change); err != nil {
		return nil, false, fmt.Errorf("cannot understand event %s: %w", event.ID, err)
	}
	if change.Version <= twin.Version {
		return twin, false, nil
	}
	if change.Version > twin.Version+1 || change.Tags != nil || change.Properties.Desired != nil {
		after, err = c.read(ctx, twin.id())
		return after, true, err
	}
	next := *twin
	next.Version = change.Version
	next.Properties.Reported = Merge(twin.Properties.Reported, change.Properties.Reported)
	return &next, true, nil
}

// read reads a twin as soon as the hub can be asked.
func (c *Client) read(ctx context.Context, id string) (*Twin, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		twin, err := c.Twin(ctx, id)
		if refused, ok := errors.AsType[*Error](err); err == nil || ok && refused.Status/100 == 4 {
			return twin, err
		}
		if !sleep(ctx, pause) {
			return nil, fmt.Errorf("cannot follow twin: %w", context.Cause(ctx))
		}
	}
}

// id names the twin as the methods of Client want it.
func (t *Twin) id() string {
	if t.ModuleID != "" {
		return t.DeviceID + "/" + t.ModuleID
	}
	return t.DeviceID
}

// Merge is a document after a patch (RFC 7396): objects merge, null deletes, all else replaces. It changes neither.
func Merge[Document ~map[string]any](document, patch Document) Document {
	merged := maps.Clone(document)
	if merged == nil {
		merged = Document{}
	}
	for name, value := range patch {
		inner, isObject := value.(map[string]any)
		switch {
		case value == nil:
			delete(merged, name)
		case isObject:
			old, _ := merged[name].(map[string]any)
			merged[name] = Merge(old, inner)
		default:
			merged[name] = value
		}
	}
	return merged
}
