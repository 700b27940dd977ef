package twin

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"time"
)

// Patch changes a twin: objects merge, null deletes, everything else replaces. nil parts stay as they are.
type Patch struct {
	Tags     map[string]any
	Desired  map[string]any
	Reported map[string]any
}

// Change is the body of TwinChanged: what was asked for, not what differs (values are not compared),
// with the sections' new $version.
type Change struct {
	Version    int64          `json:"version"`
	Tags       map[string]any `json:"tags,omitempty"`
	Properties struct {
		Desired  map[string]any `json:"desired,omitempty"`
		Reported map[string]any `json:"reported,omitempty"`
	} `json:"properties"`
}

// Decode reads one JSON object and nothing after it; numbers stay as written.
func Decode(text []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return nil, Malformed.With("not a JSON object: %v", err)
	}
	if object == nil {
		return nil, Malformed.With("not a JSON object: null")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, Malformed.With("something follows the JSON object")
	}
	return object, nil
}

func newTwin(now time.Time) Twin {
	section := func(version int64) Section {
		return Section{Version: 1, Metadata: stamp{now, version}.on(nil)}
	}
	return Twin{Version: 1, Revision: 1, Desired: section(1), Reported: section(0)}
}

// Apply merges p, checks rules and limits, and answers the new twin and what to tell about it.
// $version and $metadata at the top of a section are the hub's own and ignored.
func (t Twin) Apply(p Patch, now time.Time) (Twin, Change, error) {
	if p.Tags != nil {
		merged, err := merge("tags", t.Tags, p.Tags, maxTags)
		if err != nil {
			return Twin{}, Change{}, err
		}
		t.Tags = merged
	}
	var err error
	var change Change
	if p.Desired != nil {
		next := t.Desired.Version + 1
		if t.Desired, err = t.Desired.apply("desired", p.Desired, stamp{now, next}); err != nil {
			return Twin{}, Change{}, err
		}
		change.Properties.Desired = told(p.Desired, next)
	}
	if p.Reported != nil {
		if t.Reported, err = t.Reported.apply("reported", p.Reported, stamp{now, 0}); err != nil {
			return Twin{}, Change{}, err
		}
		change.Properties.Reported = told(p.Reported, t.Reported.Version)
	}
	if p.Tags != nil || p.Desired != nil {
		t.Revision++
	}
	t.Version++
	change.Version, change.Tags = t.Version, p.Tags
	return t, change, nil
}

// Replace makes a patch that leaves exactly tags and desired: itself, plus null for every key that goes.
// A nil part stays as it is.
func (t Twin) Replace(tags, desired map[string]any) Patch {
	var p Patch
	if tags != nil {
		p.Tags = Replacement(t.Tags, tags)
	}
	if desired != nil {
		p.Desired = Replacement(t.Desired.Values, ownKeys(desired))
	}
	return p
}

// Replacement is a patch that turns old into exactly wanted: that, and null for every key that goes.
func Replacement(old, wanted map[string]any) map[string]any {
	patch := maps.Clone(wanted)
	for key, value := range old {
		next, stays := wanted[key]
		if !stays {
			patch[key] = nil
			continue
		}
		before, isObject := value.(map[string]any)
		after, staysObject := next.(map[string]any)
		if isObject && staysObject {
			patch[key] = Replacement(before, after)
		}
	}
	return patch
}

func (s Section) apply(name string, patch map[string]any, by stamp) (Section, error) {
	patch = ownKeys(patch)
	values, err := merge(name, s.Values, patch, maxProperties)
	if err != nil {
		return Section{}, err
	}
	return Section{Values: values, Metadata: by.merge(s.Metadata, patch), Version: s.Version + 1}, nil
}

// ownKeys is section without the hub's own keys.
func ownKeys(section map[string]any) map[string]any {
	section = maps.Clone(section)
	delete(section, "$version")
	delete(section, "$metadata")
	return section
}

// told is the patch as others hear of it.
func told(patch map[string]any, version int64) map[string]any {
	patch = ownKeys(patch)
	patch["$version"] = version
	return patch
}

func merge(name string, old, patch map[string]any, limit int) (map[string]any, error) {
	if err := checkObject(name, patch, 0); err != nil {
		return nil, err
	}
	merged := mergeObjects(old, patch)
	if got := size(merged); got > limit {
		return nil, TooLarge.With("%s would have %d bytes of keys and values, %d are allowed", name, got, limit)
	}
	return merged, nil
}

// mergeObjects is RFC 7396: nulls delete, also those within an object that is new. An empty object stays.
func mergeObjects(old, patch map[string]any) map[string]any {
	merged := make(map[string]any, len(old)+len(patch))
	maps.Copy(merged, old)
	for key, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(merged, key)
		case map[string]any:
			before, _ := merged[key].(map[string]any)
			merged[key] = mergeObjects(before, value)
		default:
			merged[key] = value
		}
	}
	return merged
}

// stamp says when, and for desired properties in which version, a key was changed.
type stamp struct {
	now     time.Time
	version int64 // 0: do not tell
}

// on puts the stamp on a node of the metadata.
func (s stamp) on(node map[string]any) map[string]any {
	stamped := make(map[string]any, len(node)+2)
	maps.Copy(stamped, node)
	stamped["$lastUpdated"] = s.now.UTC().Format(time.RFC3339Nano)
	if s.version > 0 {
		stamped["$lastUpdatedVersion"] = s.version
	}
	return stamped
}

// merge stamps a node and below it whatever patch touches, and forgets what patch deletes.
func (s stamp) merge(node, patch map[string]any) map[string]any {
	stamped := s.on(node)
	for key, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(stamped, key)
		case map[string]any:
			before, _ := stamped[key].(map[string]any)
			stamped[key] = s.merge(before, value)
		default:
			stamped[key] = s.on(nil)
		}
	}
	return stamped
}
