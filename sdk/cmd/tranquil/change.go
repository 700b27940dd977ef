package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// describeEvent tells in few words what happened.
func describeEvent(event iothub.Event) string {
	switch event.Type {
	case iothub.EventTwinChanged:
		var change iothub.TwinChange
		if err := json.Unmarshal(event.Body, &change); err != nil {
			break
		}
		if words := describeChange(change); len(words) > 0 {
			return oneLine(strings.Join(words, "; "))
		}
		return "twin changed"
	case iothub.EventUpdateStarted, iothub.EventUpdatePhase, iothub.EventUpdateFinished, iothub.EventUpdateFailed, iothub.EventUpdateOverdue:
		var u iothub.UpdateEvent
		if json.Unmarshal(event.Body, &u) == nil {
			return oneLine("update " + strings.ToLower(strings.TrimPrefix(event.Type, "update")) + ": " + u.Component + " " + updateReport(u.Update).String())
		}
	case iothub.EventTelemetry:
		var t iothub.Telemetry
		if json.Unmarshal(event.Body, &t) == nil {
			return "telemetry " + oneLine(string(t.Payload))
		}
	}
	return strings.TrimPrefix(strings.ToLower(event.Type), "device") // deviceConnected
}

// describeChange tells what a patch of a twin changes.
func describeChange(change iothub.TwinChange) []string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	each(change.Tags, func(key string, v any) { add("tag %s = %s", key, short(v)) })
	each(change.Properties.Desired, func(key string, v any) {
		wishes, ok := v.(map[string]any)
		if key != "components" || !ok {
			add("desired %s = %s", key, short(v))
			return
		}
		each(wishes, func(component string, wish any) { add("wish for %s: %s", component, describeWish(wish)) })
	})
	each(change.Properties.Reported, func(key string, v any) {
		inner, ok := v.(map[string]any)
		switch {
		case ok && key == "components":
			each(inner, func(component string, c any) { add("%s: %s", component, describeComponent(c)) })
		case ok && key == "lwm2m":
			words = append(words, describeReadings("", inner)...)
		case ok && key == "refused":
			each(inner, func(path string, cause any) { add("refused %s: %s", path, short(cause)) })
		default:
			add("%s %s", key, short(v))
		}
	})
	return words
}

// each calls f for the members of a section, sorted, without the hub's own.
func each(section map[string]any, f func(key string, v any)) {
	for _, key := range slices.Sorted(maps.Keys(section)) {
		if !strings.HasPrefix(key, "$") {
			f(key, section[key])
		}
	}
}

func describeWish(v any) string {
	wish, ok := v.(map[string]any)
	if !ok {
		return short(v)
	}
	var words []string
	each(wish, func(key string, v any) {
		switch key {
		case "refused":
			words = append(words, "update "+short(v)+" refused or cancelled")
		case "consented":
			words = append(words, "update "+short(v)+" consented to")
		default:
			words = append(words, key+" "+short(v))
		}
	})
	return strings.Join(words, ", ")
}

// componentWords and updateWords tell, in this order, how what a device
// reports of a component is said.
var (
	componentWords = [][2]string{
		{"version", "version %s"}, {"schema", "schema %s"}, {"running", "running %s"}, {"stale", "stale %s"}, {"package", "package %s"},
	}
	updateWords = [][2]string{
		{"kind", "%s"},
		{"to", "to %s"},
		{"phase", "%s"},
		{"step", "%s"},
		{"progress", "%s"},
		{"waitingFor", "waits for %s"},
		{"waitingUntil", "until %s"},
		{"unavailableUntil", "unavailable until %s"},
		{"result", "%s"},
		{"cancelled", "%s"},
		{"cause", "cause: %s"},
		{"downtime", "downtime %s s"},
		{"warnings", "WARNING: %s"},
	}
)

func describeComponent(v any) string {
	component, ok := v.(map[string]any)
	if !ok {
		return short(v)
	}
	update, _ := component["update"].(map[string]any)
	words := append(say(update, updateWords), say(component, componentWords)...)
	if len(words) == 0 {
		return "changed"
	}
	return strings.Join(words, ", ")
}

// say leaves out what is null: that has become meaningless.
func say(fields map[string]any, phrases [][2]string) []string {
	var words []string
	for _, phrase := range phrases {
		v := fields[phrase[0]]
		if v == nil {
			continue
		}
		text := short(v)
		switch phrase[0] {
		case "progress":
			share, _ := v.(float64)
			text = fmt.Sprintf("%.0f %%", 100*share)
		case "cancelled":
			text = "as was asked for"
		case "unavailableUntil", "waitingUntil":
			text = localTime(text)
		}
		words = append(words, fmt.Sprintf(phrase[1], text))
	}
	return words
}

// localTime is a time of the twin as people here read it.
func localTime(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	return moment(t)
}

// describeReadings lists resources as in "/3303/0/5700 = 21.5".
func describeReadings(path string, tree map[string]any) []string {
	var words []string
	each(tree, func(key string, v any) {
		inner, ok := v.(map[string]any)
		switch {
		case strings.Count(path, "/") < 2 && ok:
			words = append(words, describeReadings(path+"/"+key, inner)...)
		case ok && inner["value"] != nil:
			words = append(words, path+"/"+key+" = "+short(inner["value"]))
		case v == nil:
			words = append(words, path+"/"+key+" gone")
		}
	})
	return words
}

// short writes a value in one line.
func short(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case string:
		return oneLine(v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return oneLine(string(b))
}
