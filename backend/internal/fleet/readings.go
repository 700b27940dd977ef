package fleet

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// A Reading is the value of an IPSO object's instance, as the twin of a device has it, and what it is worth now.
type Reading struct {
	Device    string    `json:"device"`
	Path      string    `json:"path"` // of LwM2M: "/3303/0"
	Value     any       `json:"value"`
	Unit      string    `json:"unit,omitempty"`
	At        time.Time `json:"at,omitzero"`         // when it was measured, if the device says so
	Component string    `json:"component,omitempty"` // that publishes it
	Masking   Masking   `json:"masking"`
}

// Resources of IPSO objects: what is measured or is on, its unit, and where it comes from.
var valueResources = []string{"5700", "5500", "5850"} // Sensor Value, Digital Input State, On/Off

const (
	unitResource   = "5701"
	sourceResource = "5750" // Application Type: components publish under their name
)

// Readings lists what a device measures, by path.
func (f *Fleet) Readings(ctx context.Context, id string) ([]Reading, error) {
	d, err := f.Devices.Device(ctx, id)
	if err != nil {
		return nil, err
	}
	return readings(d, f.memory.overview(d, time.Now())), nil
}

// Substitutes lists what other devices measure now by the same IPSO object, for as long as a device is masked. They
// must have the same value of each of these tags.
func (f *Fleet) Substitutes(ctx context.Context, id string, object uint16, tags []string) ([]Reading, error) {
	masked, err := f.Devices.Device(ctx, id)
	if err != nil {
		return nil, err
	}
	prefix, now, found := "/"+strconv.Itoa(int(object))+"/", time.Now(), []Reading{}
	for d, err := range f.Devices.Devices(ctx) {
		if err != nil {
			return nil, err
		}
		if d.ID == id || slices.ContainsFunc(tags, func(tag string) bool { return !alike(masked.Twin.Tags[tag], d.Twin.Tags[tag]) }) {
			continue
		}
		for _, r := range readings(d, f.memory.overview(d, now)) {
			if r.Masking.State == "live" && strings.HasPrefix(r.Path, prefix) {
				found = append(found, r)
			}
		}
	}
	return found, nil
}

// alike tells whether two devices have a tag, and the same.
func alike(a, b any) bool { return a != nil && b != nil && Tag(a) == Tag(b) }

func readings(d twin.Device, o Device) []Reading {
	all := []Reading{}
	tree, _ := d.Twin.Reported.Values["lwm2m"].(map[string]any)
	for object, of := range tree {
		instances, _ := of.(map[string]any)
		for number, of := range instances {
			resources, _ := of.(map[string]any)
			for _, id := range valueResources {
				if r, measured := readingOf(resources, id); measured {
					r.Device, r.Path, r.Masking = d.ID, "/"+object+"/"+number, o.masking(r.Component)
					all = append(all, r)
					break
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b Reading) int {
		return cmp.Or(cmp.Compare(len(a.Path), len(b.Path)), cmp.Compare(a.Path, b.Path))
	})
	return all
}

func readingOf(resources map[string]any, id string) (r Reading, measured bool) {
	resource, _ := resources[id].(map[string]any)
	if r.Value = resource["value"]; r.Value == nil {
		return r, false
	}
	if at, ok := resource["ts"].(string); ok {
		r.At, _ = time.Parse(time.RFC3339, at) // else it does not say
	}
	r.Unit, r.Component = text(resources, unitResource), text(resources, sourceResource)
	return r, true
}

func text(resources map[string]any, id string) string {
	resource, _ := resources[id].(map[string]any)
	value, _ := resource["value"].(string)
	return value
}

// masking is what readings of a component are worth; of none that is known, as long as any is stale nobody can tell.
func (d Device) masking(component string) Masking {
	worst := Masking{State: "live"}
	if !d.Connected {
		worst = Masking{State: "offline"}
		if !d.Since.IsZero() {
			worst.Since = &d.Since
		}
	}
	for _, c := range d.Components {
		if c.Name == component {
			return c.Masking
		}
		if c.Masking.State == "stale" {
			worst = c.Masking
		}
	}
	return worst
}
