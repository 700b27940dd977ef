package bridge

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects/registry"
)

// A resource is what the desired properties ask of one LwM2M resource.
type resource struct {
	value     any    // the string, float64 or bool that it shall have; nil leaves it
	kind      string // name of the value's type, for resources of which nobody knows it
	observed  bool   // its changes are reported, too
	execute   int64  // it is executed once for each number; 0 never
	arguments string // of that
}

func (r resource) executesOnly() bool { return r.execute != 0 && r.value == nil && !r.observed }

// resources are those that are named, by path.
type resources map[lwm2m.Path]resource

// maxResources bounds them: a device is asked for each, and a twin holds the
// answers.
const maxResources = 64

// readResources understands the tree of resources:
//
//	{"lwm2m": {"3": {"0": {"14": {"value": "+01:00"}, "9": {"observed": true}, "13": {}, "4": {"execute": 1, "arguments": "0='x'"}}}}}
//
// What it cannot understand it refuses, by path.
func readResources(desired, refused map[string]any) resources {
	wanted := resources{}
	v, asked := desired["lwm2m"]
	tree, ok := v.(map[string]any)
	if asked && !ok {
		refused["lwm2m"] = `must be a tree such as {"3": {"0": {"14": {"value": "+01:00"}}}}`
	}
	wanted.read(lwm2m.Path{}, tree, refused)
	return wanted
}

func (all resources) read(under lwm2m.Path, tree, refused map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		if strings.HasPrefix(key, "$") {
			continue // metadata
		}
		text := strings.TrimSuffix(under.String(), "/") + "/" + key
		p, err := lwm2m.ParsePath(text)
		fields, ok := tree[key].(map[string]any)
		var cause string
		switch {
		case err != nil || p.Depth() != under.Depth()+1:
			cause = "must be an id from 0 to 65534"
		case p.Object() == objects.SecurityID:
			cause = "no device shows this object, it has keys"
		case p.Object() == objects.ComponentUpdateID:
			cause = `what is asked of components stands in "components"`
		case !ok:
			cause = "must be an object"
		case p.Depth() < lwm2m.DepthResource:
			all.read(p, fields, refused)
		case len(all) >= maxResources:
			cause = fmt.Sprintf("more than %d resources are asked for", maxResources)
		default:
			all[p], cause = readResource(fields)
		}
		if cause != "" {
			delete(all, p)
			refused["lwm2m"+text] = cause
		}
	}
}

func readResource(fields map[string]any) (r resource, cause string) {
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		ok := true
		switch v := fields[key]; key {
		case "value":
			switch v.(type) {
			case string, float64, bool:
				r.value = v
			default:
				ok = false
			}
		case "type":
			r.kind, ok = v.(string)
			if _, known := kinds[strings.ToLower(r.kind)]; ok && !known {
				return r, fmt.Sprintf("type %.20q is none of %s", r.kind, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
			}
		case "observed":
			r.observed, ok = v.(bool)
		case "execute":
			var f float64
			f, ok = v.(float64)
			r.execute = int64(f)
			ok = ok && float64(r.execute) == f && r.execute > 0 && r.execute <= math.MaxInt32
		case "arguments":
			r.arguments, ok = v.(string)
			if _, err := lwm2m.ParseArguments(r.arguments); err != nil {
				return r, err.Error()
			}
		default:
			return r, fmt.Sprintf("unknown property %q: known are value, type, observed, execute and arguments", key)
		}
		if !ok {
			return r, fmt.Sprintf("%s has a value of the wrong type: %v", key, fields[key])
		}
	}
	return r, ""
}

// valueOf gives a desired value the kind that the resource has.
func valueOf(v any, kind lwm2m.Kind) (lwm2m.Value, error) {
	switch v := v.(type) {
	case bool:
		return lwm2m.Bool(v).Convert(kind)
	case float64:
		if kind == lwm2m.KindNone && v == math.Trunc(v) {
			kind = lwm2m.KindInteger
		}
		return lwm2m.Float(v).Convert(kind)
	case json.Number:
		return numberOf(v, kind)
	case string:
		if t, err := time.Parse(time.RFC3339, v); err == nil && kind == lwm2m.KindTime {
			return lwm2m.Time(t), nil
		}
		return lwm2m.ParseValue(kind, v)
	}
	return lwm2m.Value{}, fmt.Errorf("%v is no value", v)
}

// model has all objects that are defined anywhere in Tranquil, in the latest
// version: versions differ mostly in what was added; and those of the operator.
func model(own []lwm2m.Definition) lwm2m.Model {
	m, library := objects.Model(), registry.Library()
	for _, d := range own {
		if d.ID != objects.ComponentUpdateID {
			m[d.ID] = d
		}
	}
	for id := range uint16(math.MaxUint16) {
		if _, known := m[id]; known {
			continue
		}
		if d, ok := library.Definition(id, ""); ok {
			m[id] = d
		}
	}
	return m
}
