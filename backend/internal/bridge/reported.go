package bridge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// States of a device, as its twin shows them.
const (
	online      = "online"
	offline     = "offline"
	updating    = "updating"
	malfunction = "malfunction"
)

// values is all that a device has told of itself, by path.
type values map[lwm2m.Path]lwm2m.Record

// maxValues bounds what is kept of one device; a twin could hold a tenth of it.
const maxValues = 8192

// take adds what was read or notified. What was measured before that which is known is of
// the past: a device may tell it late, and in any order.
func (v values) take(records []lwm2m.Record) {
	future := time.Now().Add(time.Minute)
	for _, r := range records {
		last, known := v[r.Path]
		if known && !r.Time.IsZero() && r.Time.Before(last.Time) && last.Time.Before(future) {
			continue
		}
		if known || len(v) < maxValues {
			v[r.Path] = r
		}
	}
}

// components lists the instances of Component Update by component name.
func (v values) components() map[string]uint16 {
	all := map[string]uint16{}
	for p, r := range v {
		if p.Object() == objects.ComponentUpdateID && p.Depth() == 3 && p.Resource() == objects.ComponentName && pack.CheckComponent(r.Value.Text()) == nil {
			all[r.Value.Text()] = p.Instance()
		}
	}
	return all
}

func (v values) component(instance, resource uint16) lwm2m.Value {
	return v[lwm2m.NewPath(objects.ComponentUpdateID, instance, resource)].Value
}

// want is what the device was last asked for.
func (v values) want(instance uint16) want {
	return want{
		version: v.component(instance, objects.ComponentWanted).Text(), attempt: v.component(instance, objects.ComponentAttempt).Int(),
		file: v.component(instance, objects.ComponentPackage).Text(), schedule: v.component(instance, objects.ComponentSchedule).Text(),
		state: v.component(instance, objects.ComponentWantedState).Text(), remove: v.component(instance, objects.ComponentRemove).Text(), terms: v.terms(instance),
	}
}

// reported is the whole reported document of a device, with what only the
// twin remembers, and answers in the tree of resources.
func (v values) reported(refused, twin map[string]any, answers func(tree map[string]any)) map[string]any {
	doc := map[string]any{"state": online}
	if fault := v.fault(); fault != "" {
		doc["mode"], doc["fault"], doc["state"] = "safe", clip(fault), malfunction
	}
	if done := max(v.repaired(), repairedOf(twin)); done > 0 {
		doc["repaired"] = float64(done)
	}
	components := map[string]any{}
	for name, instance := range v.components() {
		component, state := v.describe(instance)
		if done := max(v.component(instance, objects.ComponentMended).Int(), mendedOf(twin, name)); done > 0 {
			component["repaired"] = float64(done)
		}
		withOutcome(component, outcomeOf(twin, name))
		components[name] = component
		if state != online && doc["state"] != malfunction {
			doc["state"] = state
		}
	}
	if len(components) > 0 {
		doc["components"] = components
	}
	if len(refused) > 0 {
		doc["refused"] = few(refused)
	}
	tree := v.tree()
	if answers(tree); len(tree) > 0 {
		doc["lwm2m"] = tree
	}
	shrink(doc)
	return doc
}

// shrink makes a document small enough for a twin. Readings go first: what an
// update does must reach it. Then go components that are not being updated: a
// device may have more of them than a twin can hold, and is no less online for that.
func shrink(doc map[string]any) {
	if size(doc) <= maxReported {
		return
	}
	doc["lwm2m"] = map[string]any{"omitted": "the readings of this device are more than a twin can hold"}
	components, _ := doc["components"].(map[string]any)
	if size(doc) <= maxReported || len(components) == 0 {
		return
	}
	doc["omitted"] = fmt.Sprintf("some of the %d components of this device, which are more than a twin can hold", len(components))
	kept := map[string]any{}
	doc["components"] = kept
	left := maxReported - size(doc)
	for _, name := range slices.SortedFunc(maps.Keys(components), func(a, b string) int {
		return cmp.Or(cmp.Compare(settledRank(components[a]), settledRank(components[b])), cmp.Compare(a, b))
	}) {
		one := map[string]any{name: components[name]}
		if n := size(one); n <= left {
			kept[name], left = components[name], left-n
		}
	}
}

// settledRank is 0 of a component that is being updated, 1 of any other.
func settledRank(component any) int {
	fields, _ := component.(map[string]any)
	update, _ := fields["update"].(map[string]any)
	if update != nil && update["result"] == nil {
		return 0
	}
	return 1
}

// fault is why the agent is in safe mode, "" if it is not.
func (v values) fault() string {
	for _, instance := range v.components() {
		if v.component(instance, objects.ComponentMode).Text() == "safe" {
			return cmp.Or(v.component(instance, objects.ComponentFault).Text(), "unknown")
		}
	}
	return ""
}

// repaired is the number of the last repair that has ended, 0 if none has.
func (v values) repaired() (number int64) {
	for _, instance := range v.components() {
		number = max(number, v.component(instance, objects.ComponentRepaired).Int())
	}
	return number
}

// repairedOf is the same, as a twin has it.
func repairedOf(reported map[string]any) int64 {
	number, _ := reported["repaired"].(float64)
	return int64(number)
}

// mendedOf is the number of the last repair of a component that has ended, as
// a twin has it.
func mendedOf(reported map[string]any, name string) int64 {
	components, _ := reported["components"].(map[string]any)
	component, _ := components[name].(map[string]any)
	return repairedOf(component)
}

// states are the saved states of a component, by generation.
func (v values) states(instance uint16) any {
	all, err := objects.DecodeStates(v.component(instance, objects.ComponentStates).Text())
	if err != nil || len(all) == 0 {
		return nil
	}
	states := map[string]any{}
	for _, s := range all {
		told := map[string]any{"version": clip(s.Version), "schema": float64(s.Schema), "savedAt": s.Saved.UTC().Format(time.RFC3339), "bytes": float64(s.Size)}
		if s.Damaged {
			told["damaged"] = true
		}
		states[strconv.FormatUint(s.Generation, 10)] = told
	}
	return states
}

// What a twin takes: 32 KB of reported properties. Refusals beyond a few are
// counted only.
const (
	maxReported = 28 << 10
	maxRefused  = 16
)

func size(doc map[string]any) int {
	b, _ := json.Marshal(doc) // made of plain values only
	return len(b)
}

func few(refused map[string]any) map[string]any {
	if len(refused) <= maxRefused {
		return refused
	}
	kept := map[string]any{"more": fmt.Sprintf("%d refused in all", len(refused))}
	for _, path := range slices.Sorted(maps.Keys(refused))[:maxRefused] {
		kept[path] = refused[path]
	}
	return kept
}

// describe is one component, and the state of the device as far as this
// component goes.
func (v values) describe(instance uint16) (component map[string]any, state string) {
	text := func(resource uint16) any { return orNil(v.component(instance, resource).Text()) }
	result := v.component(instance, objects.ComponentResult).Text()
	stale := v.component(instance, objects.ComponentStale).Bool()
	component = map[string]any{
		"version": text(objects.ComponentVersion), "running": v.component(instance, objects.ComponentRunning).Bool(), "stale": stale,
	}
	if schema := v.component(instance, objects.ComponentSchema).Int(); schema > 0 {
		component["schema"] = float64(schema)
	}
	component["previous"] = v.previous(instance)
	component["states"] = v.states(instance)
	component["trust"] = v.trust(instance)
	maps.Copy(component, v.admission(instance))
	if id := text(objects.ComponentUpdateIdentifier); id != nil {
		update := map[string]any{
			"id": id, "to": text(objects.ComponentTo), "phase": text(objects.ComponentPhase), "step": text(objects.ComponentStep),
			"result": orNil(result), "cause": text(objects.ComponentCause), "stopped": text(objects.ComponentStopped),
		}
		if until := v.component(instance, objects.ComponentUnavailableUntil).Time(); until.Unix() > 0 {
			update["unavailableUntil"] = until.UTC().Format(time.RFC3339)
		}
		if text(objects.ComponentWaitingFor) != nil {
			update["waitingFor"] = text(objects.ComponentWaitingFor)
		}
		if until := v.component(instance, objects.ComponentWaitingUntil).Time(); until.Unix() > 0 {
			update["waitingUntil"] = until.UTC().Format(time.RFC3339)
		}
		if predicted := v.component(instance, objects.ComponentPredictedDowntime).Float(); predicted > 0 {
			update["predicted"] = thousandths(predicted)
		}
		if result == "" {
			update["progress"] = hundredths(v.component(instance, objects.ComponentProgress).Float())
			if v.component(instance, objects.ComponentBack).Bool() {
				update["back"] = true
			}
			if size := v.component(instance, objects.ComponentSize).Int(); size > 0 {
				update["bytes"], update["size"] = float64(v.component(instance, objects.ComponentFetched).Int()), float64(size)
				if slow := v.component(instance, objects.ComponentSlow).Int(); slow > 0 {
					update["slow"] = float64(slow)
				}
			}
		} else {
			update["downtime"] = math.Round(1000*v.component(instance, objects.ComponentDowntime).Float()) / 1000
		}
		component["update"] = withoutNils(update)
	}
	switch {
	case result == "inconsistent":
		return withoutNils(component), malfunction
	case stale:
		return withoutNils(component), updating
	}
	return withoutNils(component), online
}

// admission is when the component may be updated, as the device has it: its
// window and schedule, whether updates need consent, and what its dependants
// may want.
func (v values) admission(instance uint16) map[string]any {
	admission := map[string]any{
		"window": orNil(v.component(instance, objects.ComponentWindow).Text()),
		"check":  orNil(v.component(instance, objects.ComponentSchedule).Text()),
	}
	switch {
	case v.component(instance, objects.ComponentAsks).Bool():
		admission["consent"] = "ask, as the device is configured"
	default:
		admission["consent"] = orNil(v.component(instance, objects.ComponentConsent).Text())
	}
	terms, err := objects.DecodeDependants(v.component(instance, objects.ComponentDependants).Text())
	if err != nil || len(terms) == 0 {
		return admission
	}
	dependants := map[string]any{}
	for name, term := range terms {
		dependants[name] = term
	}
	admission["dependants"] = dependants
	return admission
}

// trust is what the device knows of signatures for the component's packages: how new
// that is, and what is wrong with it. nil: it needs none, or has not looked yet.
func (v values) trust(instance uint16) any {
	timestamp, trouble := v.component(instance, objects.ComponentTimestamp).Int(), v.component(instance, objects.ComponentTrouble).Text()
	if timestamp == 0 && trouble == "" {
		return nil
	}
	return withoutNils(map[string]any{"timestamp": float64(timestamp), "trouble": orNil(trouble)})
}

// previous is the version before the installed one, and the way back to it.
func (v values) previous(instance uint16) any {
	version := orNil(v.component(instance, objects.ComponentPrevious).Text())
	if version == nil {
		return nil
	}
	previous := map[string]any{
		"version": version, "way": orNil(v.component(instance, objects.ComponentWay).Text()),
		"note": orNil(v.component(instance, objects.ComponentWayNote).Text()),
	}
	if schema := v.component(instance, objects.ComponentPreviousSchema).Int(); schema > 0 {
		previous["schema"] = float64(schema)
	}
	if saved := v.component(instance, objects.ComponentSaved).Time(); saved.Unix() > 0 {
		previous["savedAt"] = saved.UTC().Format(time.RFC3339)
	}
	return withoutNils(previous)
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return clip(s)
}

// clip keeps a text within what a twin allows for one value (4 KB).
func clip(s string) string {
	const most = 1024
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func withoutNils(m map[string]any) map[string]any {
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

func hundredths(f float64) float64 { return math.Round(100*f) / 100 }

// tree is what lies outside Component Update: the readings and the device.
func (v values) tree() map[string]any {
	tree := map[string]any{}
	for p, r := range v {
		if p.Object() == objects.ComponentUpdateID {
			continue
		}
		leaf := child(child(child(tree, p.Object()), p.Instance()), p.Resource())
		if p.Depth() == lwm2m.DepthResourceInstance {
			values, _ := leaf["value"].(map[string]any)
			if values == nil {
				values = map[string]any{}
			}
			values[strconv.Itoa(int(p.ResourceInstance()))] = plain(r.Value)
			leaf["value"] = values
			continue
		}
		leaf["value"] = plain(r.Value)
		if !r.Time.IsZero() && measured(r.Value) {
			leaf["ts"] = r.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00")
		}
	}
	return tree
}

// measured tells values whose time is worth room in a twin from names and units.
func measured(v lwm2m.Value) bool {
	switch v.Kind() {
	case lwm2m.KindInteger, lwm2m.KindUnsigned, lwm2m.KindFloat, lwm2m.KindBoolean:
		return true
	}
	return false
}

func child(m map[string]any, id uint16) map[string]any {
	key := strconv.Itoa(int(id))
	if m[key] == nil {
		m[key] = map[string]any{}
	}
	return m[key].(map[string]any)
}

// plain is a value as a twin can hold it: numbers as JSON has them, and those that it
// does not have exactly as text.
func plain(v lwm2m.Value) any {
	const most = 1 << 52
	switch v.Kind() {
	case lwm2m.KindInteger:
		if n := v.Int(); -most < n && n < most {
			return float64(n)
		}
	case lwm2m.KindUnsigned:
		if n := v.Uint(); n < most {
			return float64(n)
		}
	case lwm2m.KindFloat:
		return v.Float()
	case lwm2m.KindBoolean:
		return v.Bool()
	case lwm2m.KindTime:
		return fmt.Sprint(dated(v))
	}
	return clip(v.String())
}

// fitting is a value as a hub takes it: numbers that no twin can hold become text,
// whoever said them.
func fitting(v any) any {
	const most = 1 << 52
	switch v := v.(type) {
	case map[string]any:
		all := make(map[string]any, len(v))
		for key, inner := range v {
			all[key] = fitting(inner)
		}
		return all
	case float64:
		if math.IsNaN(v) || math.Abs(v) >= most {
			return strconv.FormatFloat(v, 'g', -1, 64)
		}
	}
	return v
}

// diff is the patch that turns one document into another; nil deletes.
func diff(from, to map[string]any) map[string]any {
	patch := map[string]any{}
	for key, old := range from {
		if _, stays := to[key]; !stays && old != nil && !strings.HasPrefix(key, "$") {
			patch[key] = nil
		}
	}
	for key, v := range to {
		old, there := from[key]
		before, wasMap := old.(map[string]any)
		after, isMap := v.(map[string]any)
		switch {
		case wasMap && isMap:
			if inner := diff(before, after); len(inner) > 0 {
				patch[key] = inner
			}
		case !there || !reflect.DeepEqual(old, v):
			patch[key] = v
		}
	}
	return patch
}
