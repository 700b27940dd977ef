package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/reported"
)

// Device answers one; twin.DeviceNotFound.
func (f *Fleet) Device(ctx context.Context, id string) (Device, error) {
	d, err := f.Devices.Device(ctx, id)
	if err != nil {
		return Device{}, err
	}
	return f.memory.overview(d, time.Now()), nil
}

// Find lists the devices that a query is about, by id. The words of a query must all be true of a device:
//
//	pump            its id has this in it
//	state:updating  its state
//	application/x   it has this component, or one whose name has this in it
//	application/x@1.4.0   in this version; the version may also be !1.4.0, any other
//	tags.site:zurich      a tag, which may be nested: tags.location.floor:2
//	result:failed   its last update of some component: failed, going, updated, …
//	-word           none of that word
func (f *Fleet) Find(ctx context.Context, query string) ([]Device, error) {
	found := []Device{}
	words := strings.Fields(query)
	now, all := time.Now(), 0
	for d, err := range f.Devices.Devices(ctx) {
		if err != nil {
			return nil, err
		}
		all++
		o := f.memory.overview(d, now)
		if !slices.ContainsFunc(words, func(word string) bool { return !o.fits(word) }) {
			found = append(found, o)
		}
	}
	f.memory.bound(all)
	return found, nil
}

// fits tells whether one word of a query is true of the device.
func (d Device) fits(word string) bool {
	if without, negated := strings.CutPrefix(word, "-"); negated && without != "" {
		return !d.fits(without)
	}
	key, value, keyed := strings.Cut(word, ":")
	switch {
	case keyed && key == "state":
		return d.State == value
	case keyed && key == "result":
		return slices.ContainsFunc(d.Components, func(c Component) bool { return ended(c.Update, value) })
	case keyed && strings.HasPrefix(key, "tags."):
		return tagged(d.Tags, strings.Split(key, ".")[1:], value)
	case strings.Contains(word, "/"):
		name, version, _ := strings.Cut(word, "@")
		return slices.ContainsFunc(d.Components, func(c Component) bool { return c.is(name, version) })
	}
	return strings.Contains(strings.ToLower(d.ID), strings.ToLower(word))
}

func (c Component) is(name, version string) bool {
	other, not := strings.CutPrefix(version, "!")
	return strings.Contains(c.Name, name) && (version == "" || (c.Version == other) != not)
}

// ended tells whether an update has ended in a way: "failed", "going" or its result.
func ended(u *reported.Update, how string) bool {
	switch {
	case u == nil:
		return false
	case how == "failed":
		return u.Failed()
	case how == "going":
		return u.Going()
	}
	return u.Result == how
}

func tagged(tags map[string]any, path []string, value string) bool {
	inner, nested := tags[path[0]].(map[string]any)
	if nested && len(path) > 1 {
		return tagged(inner, path[1:], value)
	}
	v, there := tags[path[0]]
	if !there || len(path) > 1 {
		return false
	}
	if text, ok := v.(string); ok {
		return text == value
	}
	text, err := json.Marshal(v)
	return err == nil && string(text) == value
}

// Counts is how many devices are in each state.
func Counts(devices []Device) map[string]int {
	counts := map[string]int{}
	for _, d := range devices {
		counts[d.State]++
	}
	return counts
}

// Tag shows a tag of a device as text.
func Tag(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	return fmt.Sprint(v)
}
