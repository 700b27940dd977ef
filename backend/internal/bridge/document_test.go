package bridge

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

func decode(t testing.TB, text string) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestReadMend(t *testing.T) {
	for text, want := range map[string]mend{
		`{"number": 2, "state": "keep"}`: {2, "keep"}, `{"number": 3, "state": 7}`: {3, "7"},
		`2`: {}, `{"number": 2, "state": "burn"}`: {}, `{"state": 7}`: {}, `{"number": 2}`: {}, `{"number": -2, "state": 7}`: {}, `{"number": 2, "state": 0}`: {},
	} {
		wants, refused := readDesired(decode(t, `{"components": {"application/a": {"version": "2.0.0", "repair": `+text+`}}}`))
		if got := wants["application/a"]; got.mend != want || got.version != "2.0.0" || got.keepsWish || got.terms != (terms{}) || (len(refused) > 0) != (want == mend{}) {
			t.Errorf("%s: %+v, refused %v", text, got, refused)
		}
	}
}

// asWritten compares wants field by field.
var asWritten = cmp.Options{cmp.AllowUnexported(want{}, terms{}, mend{}, means{}), cmp.Comparer(func(a, b lwm2m.Path) bool { return a == b })}

func TestReadDesired(t *testing.T) {
	for _, test := range []struct {
		name, desired string
		wants         map[string]want
		refused       []string
	}{
		{name: "nothing", desired: `{"$version": 1}`},
		{
			name:    "goal state",
			desired: `{"components": {"application/a": {"version": "2.0.0", "attempt": 1, "check": "0 * * * *"}, "container/b": {"package": "sha256:1"}}}`,
			wants:   map[string]want{"application/a": {version: "2.0.0", attempt: 1, schedule: "0 * * * *"}, "container/b": {file: "sha256:1"}},
		},
		{
			name:    "back to a saved state",
			desired: `{"components": {"application/a": {"version": "1.0.0", "state": "saved"}}}`,
			wants:   map[string]want{"application/a": {version: "1.0.0", state: "saved"}},
		},
		{
			name:    "removed",
			desired: `{"components": {"application/a": {"remove": true}, "application/b": {"remove": "purge"}, "application/c": {"remove": false}}}`,
			wants:   map[string]want{"application/a": {remove: "keep"}, "application/b": {remove: "purge"}, "application/c": {}},
		},
		{
			name:    "removed in an unknown way",
			desired: `{"components": {"application/a": {"remove": "burn"}}}`,
			wants:   map[string]want{"application/a": {keepsWish: true}},
			refused: []string{"components/application/a"},
		},
		{
			name:    "terms",
			desired: `{"components": {"application/a": {"window": "01:00-02:00", "now": "2.0.0", "consent": "ask", "consented": "u1", "refused": "u2"}}}`,
			wants:   map[string]want{"application/a": {terms: terms{window: "01:00-02:00", now: "2.0.0", consent: "ask", consented: "u1", refused: "u2"}}},
		},
		{
			name:    "terms of a wrong type",
			desired: `{"components": {"application/a": {"now": true}}}`,
			wants:   map[string]want{"application/a": {}},
			refused: []string{"components/application/a"},
		},
		{
			name:    "the rest beside what is bad",
			desired: `{"components": {"application/a": {"version": 2, "check": true, "consent": "ask", "window": "01:00-02:00"}, "application/b": {"version": "2.0.0", "consent": 1, "window": 7}}}`,
			wants: map[string]want{
				"application/a": {keepsWish: true, keepsSchedule: true, terms: terms{consent: "ask", window: "01:00-02:00"}},
				"application/b": {version: "2.0.0", terms: terms{consent: "ask", window: "closed: window cannot be read: window has a value of the wrong type: 7"}},
			},
			refused: []string{"components/application/a", "components/application/b"},
		},
		{
			name:    "push of the method",
			desired: `{"update": {"type": "Push", "component": "container", "componentName": "Java8"}}`,
			wants:   map[string]want{"container/java8": {check: true}},
		},
		{
			name:    "push of one version",
			desired: `{"update": {"type": "Push", "component": "container", "componentName": "Java8", "version": "1.3.0"}}`,
			wants:   map[string]want{"container/java8": {version: "1.3.0"}},
		},
		{
			name:    "pull of the method",
			desired: `{"update": {"type": "Pull", "component": "container", "componentName": "Java8", "schedule": "0 3 * * *"}}`,
			wants:   map[string]want{"container/java8": {schedule: "0 3 * * *"}},
		},
		{
			name:    "resource operation of the method",
			desired: `{"method": "write", "resourceUri": "/9/0/0", "newValue": "container.Java8.java_8_container_v1_3_0_b.tar"}`,
			wants:   map[string]want{"container/java8": {file: "container.Java8.java_8_container_v1_3_0_b.tar"}},
		},
		{name: "components of a wrong type", desired: `{"components": "all"}`, refused: []string{"components"}},
		{
			name:    "one bad among good",
			desired: `{"components": {"application/a": {"version": "2.0.0"}, "application/b": {"version": 2}, "b": {}, "application/c": {"vresion": "1"}, "application/d": [], "application/e": {"version": "two"}, "application/f": {"attempt": 1.5}}}`,
			wants: map[string]want{
				"application/a": {version: "2.0.0"}, "application/b": {keepsWish: true},
				"application/c": {terms: terms{window: closedWindow("vresion", `unknown property "vresion": known are version, package, attempt, state, remove, repair, check, window, now, consent, consented, refused, delivery, platform and object`)}},
				"application/e": {version: "two", keepsWish: true}, "application/f": {attempt: 1, keepsWish: true},
			},
			refused: []string{"components/application/b", "components/application/c", "components/application/d", "components/application/e", "components/application/f", "components/b"},
		},
		{name: "update of a wrong type", desired: `{"update": 7}`, refused: []string{"update"}},
		{name: "another resource", desired: `{"method": "write", "resourceUri": "/5/0/1", "newValue": "x"}`, refused: []string{"resourceUri"}},
		{name: "another method", desired: `{"method": "execute", "resourceUri": "/9/0/0"}`, refused: []string{"resourceUri"}},
	} {
		wants, refused := readDesired(decode(t, test.desired))
		if len(test.wants)+len(wants) > 0 && !cmp.Equal(test.wants, wants, asWritten) {
			t.Errorf("%s: %s", test.name, cmp.Diff(test.wants, wants, asWritten))
		}
		for _, path := range test.refused {
			if refused[path] == nil || refused[path] == "" {
				t.Errorf("%s: %s is not refused: %v", test.name, path, refused)
			}
		}
		if len(refused) != len(test.refused) {
			t.Errorf("%s: refused %v", test.name, refused)
		}
	}
}

func TestDiff(t *testing.T) {
	for _, test := range []struct{ from, to, want string }{
		{`{}`, `{}`, `{}`},
		{`{"a": 1}`, `{"a": 1}`, `{}`},
		{`{"a": 1}`, `{"a": 2}`, `{"a": 2}`},
		{`{"a": 1, "$version": 3}`, `{}`, `{"a": null}`},
		{`{"a": {"b": 1, "c": 2}}`, `{"a": {"b": 1, "d": [1]}}`, `{"a": {"c": null, "d": [1]}}`},
		{`{"a": 1}`, `{"a": {"b": 1}}`, `{"a": {"b": 1}}`},
		{`{"a": {"b": 1}}`, `{"a": "x"}`, `{"a": "x"}`},
	} {
		if got := diff(decode(t, test.from), decode(t, test.to)); !cmp.Equal(got, decode(t, test.want)) {
			t.Errorf("from %s to %s: %v, want %s", test.from, test.to, got, test.want)
		}
	}
}

// told is a device with one component, in the middle of an update.
func told() values {
	v := values{}
	set := func(resource uint16, value lwm2m.Value) {
		p := lwm2m.NewPath(objects.ComponentUpdateID, 0, resource)
		v.take([]lwm2m.Record{{Path: p, Value: value}})
	}
	set(objects.ComponentName, lwm2m.String("application/a"))
	set(objects.ComponentVersion, lwm2m.String("1.0.0"))
	set(objects.ComponentSchema, lwm2m.Int(1))
	set(objects.ComponentRunning, lwm2m.Bool(true))
	set(objects.ComponentStale, lwm2m.Bool(true))
	set(objects.ComponentUpdateIdentifier, lwm2m.String("u1"))
	set(objects.ComponentTo, lwm2m.String("2.0.0"))
	set(objects.ComponentPhase, lwm2m.String("transformation"))
	set(objects.ComponentStep, lwm2m.String("transform"))
	set(objects.ComponentProgress, lwm2m.Float(0.6789))
	set(objects.ComponentUnavailableUntil, lwm2m.Time(time.Date(2026, 11, 22, 8, 0, 4, 0, time.UTC)))
	v.take([]lwm2m.Record{{Path: lwm2m.NewPath(3303, 0, 5700), Value: lwm2m.Float(21.5)}})
	return v
}

func TestReported(t *testing.T) {
	v := told()
	want := decode(t, `{"state": "updating", "refused": {"update": "why"},
		"components": {"application/a": {"version": "1.0.0", "schema": 1, "running": true, "stale": true,
			"update": {"id": "u1", "to": "2.0.0", "phase": "transformation", "step": "transform", "progress": 0.68, "unavailableUntil": "2026-11-22T08:00:04Z"}}},
		"lwm2m": {"3303": {"0": {"5700": {"value": 21.5}}}}}`)
	if got := v.reported(map[string]any{"update": "why"}, nil, noAnswers); !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
	previous := func(resource uint16) lwm2m.Path { return lwm2m.NewPath(objects.ComponentUpdateID, 0, resource) }
	v.take([]lwm2m.Record{
		{Path: previous(objects.ComponentPrevious), Value: lwm2m.String("0.9.0")},
		{Path: previous(objects.ComponentPreviousSchema), Value: lwm2m.Int(1)},
		{Path: previous(objects.ComponentWay), Value: lwm2m.String("saved state")},
		{Path: previous(objects.ComponentWayNote), Value: lwm2m.String("loses much")},
		{Path: previous(objects.ComponentSaved), Value: lwm2m.Time(time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC))},
	})
	back := decode(t, `{"version": "0.9.0", "schema": 1, "way": "saved state", "note": "loses much", "savedAt": "2026-11-22T08:00:00Z"}`)
	if got := v.previous(0); !cmp.Equal(any(back), got) {
		t.Error(cmp.Diff(any(back), got))
	}
	v.take([]lwm2m.Record{
		{Path: previous(objects.ComponentWindow), Value: lwm2m.String("Sat 00:00-24:00")},
		{Path: previous(objects.ComponentSchedule), Value: lwm2m.String("0 3 * * *")},
		{Path: previous(objects.ComponentConsent), Value: lwm2m.String("ask")},
		{Path: previous(objects.ComponentDependants), Value: lwm2m.String(`{"application/reader":"stop"}`)},
		{Path: previous(objects.ComponentStopped), Value: lwm2m.String("application/reader")},
	})
	component, _ := v.describe(0)
	if component["window"] != "Sat 00:00-24:00" || component["check"] != "0 3 * * *" || component["consent"] != "ask" || component["update"].(map[string]any)["stopped"] != "application/reader" ||
		!cmp.Equal(component["dependants"], any(decode(t, `{"application/reader": "stop"}`))) {
		t.Errorf("%+v", component)
	}
	v.take([]lwm2m.Record{{Path: previous(objects.ComponentAsks), Value: lwm2m.Bool(true)}})
	if component, _ := v.describe(0); component["consent"] != "ask, as the device is configured" {
		t.Errorf("%+v", component)
	}
	for result, state := range map[string]string{"updated": online, "turned back": online, "inconsistent": malfunction} {
		v.take([]lwm2m.Record{
			{Path: lwm2m.NewPath(objects.ComponentUpdateID, 0, objects.ComponentResult), Value: lwm2m.String(result)},
			{Path: lwm2m.NewPath(objects.ComponentUpdateID, 0, objects.ComponentStale), Value: lwm2m.Bool(false)},
			{Path: lwm2m.NewPath(objects.ComponentUpdateID, 0, objects.ComponentCause), Value: lwm2m.String(strings.Repeat("x", 9999))},
		})
		doc := v.reported(nil, nil, noAnswers)
		if doc["state"] != state {
			t.Errorf("%s: state %v, want %s", result, doc["state"], state)
		}
		if b, err := json.Marshal(doc); err != nil || len(b) > 4096 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}
}

// What an update waits for is in the twin while it waits, and goes.
func TestReportedWaiting(t *testing.T) {
	v := told()
	tell := func(resource uint16, value lwm2m.Value) {
		v.take([]lwm2m.Record{{Path: lwm2m.NewPath(objects.ComponentUpdateID, 0, resource), Value: value}})
	}
	update := func() map[string]any {
		component, _ := v.describe(0)
		return component["update"].(map[string]any)
	}
	tell(objects.ComponentWaitingFor, lwm2m.String("the maintenance window"))
	tell(objects.ComponentWaitingUntil, lwm2m.Time(time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC)))
	if u := update(); u["waitingFor"] != "the maintenance window" || u["waitingUntil"] != "2026-11-23T01:00:00Z" {
		t.Errorf("%v", u)
	}
	tell(objects.ComponentWaitingFor, lwm2m.String(""))
	tell(objects.ComponentWaitingUntil, lwm2m.Time(time.Unix(0, 0)))
	if u := update(); u["waitingFor"] != nil || u["waitingUntil"] != nil {
		t.Errorf("%v", u)
	}
}

// What the device knows of signatures is in the twin, if it wants any.
func TestReportedTrust(t *testing.T) {
	v := told()
	tell := func(resource uint16, value lwm2m.Value) {
		v.take([]lwm2m.Record{{Path: lwm2m.NewPath(objects.ComponentUpdateID, 0, resource), Value: value}})
	}
	known := func() any {
		component, _ := v.describe(0)
		return component["trust"]
	}
	if got := known(); got != nil {
		t.Errorf("of a device that wants none: %v", got)
	}
	tell(objects.ComponentTimestamp, lwm2m.Int(1796000000))
	tell(objects.ComponentTrouble, lwm2m.String("the timestamp has expired"))
	if got := known(); !reflect.DeepEqual(got, map[string]any{"timestamp": 1796000000.0, "trouble": "the timestamp has expired"}) {
		t.Errorf("%v", got)
	}
	tell(objects.ComponentTrouble, lwm2m.String(""))
	if got := known(); !reflect.DeepEqual(got, map[string]any{"timestamp": 1796000000.0}) {
		t.Errorf("when it is well again: %v", got)
	}
}

// However much a device and its operator say, the update's result has room.
// TestTheNewestValueIsShown, in whichever order they come; but none of the future for ever.
func TestTheNewestValueIsShown(t *testing.T) {
	p, v := lwm2m.NewPath(3303, 0, 5700), values{}
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	told := func(value float64, at time.Time) lwm2m.Record {
		return lwm2m.Record{Path: p, Value: lwm2m.Float(value), Time: at}
	}
	for _, step := range []struct {
		records []lwm2m.Record
		want    float64
	}{
		{[]lwm2m.Record{told(23, at.Add(2*time.Second)), told(22, at.Add(time.Second)), told(21, at)}, 23},
		{[]lwm2m.Record{told(20, at.Add(-time.Hour))}, 23},
		{[]lwm2m.Record{told(24, at.Add(2*time.Second))}, 24},
		{[]lwm2m.Record{told(99, time.Now().Add(24*time.Hour))}, 99},
		{[]lwm2m.Record{told(25, at.Add(time.Minute))}, 25},
		{[]lwm2m.Record{told(26, time.Time{})}, 26},
		{[]lwm2m.Record{told(27, at)}, 27},
	} {
		if v.take(step.records); v[p].Value.Float() != step.want {
			t.Errorf("after %v: %v", step.records, v[p].Value)
		}
	}
}

func TestReportedFitsATwin(t *testing.T) {
	v, refused := told(), map[string]any{}
	for i := range 1000 {
		v.take([]lwm2m.Record{{Path: lwm2m.NewPath(3303, uint16(i), 5701), Value: lwm2m.String(strings.Repeat("u", 60))}})
		refused["components/application/c"+strconv.Itoa(i)] = "this device has no component"
	}
	doc := v.reported(refused, nil, noAnswers)
	if n := size(doc); n > maxReported {
		t.Errorf("%d bytes", n)
	}
	if doc["components"] == nil || doc["refused"] == nil {
		t.Errorf("what matters is missing: %v", doc)
	}
}

// TestManyComponents: a device that has more components than its twin can hold is online all the same, and shows those
// that are being updated.
func TestManyComponents(t *testing.T) {
	components := map[string]any{"application/z": map[string]any{"version": "1.0.0", "update": map[string]any{"id": "u", "phase": "preparation"}}}
	for i := range 2000 {
		components[fmt.Sprint("application/c", i)] = map[string]any{"version": "1.0.0", "update": map[string]any{"id": "v", "result": "updated"}}
	}
	doc := map[string]any{"state": "online", "components": components}
	shrink(doc)
	kept, _ := doc["components"].(map[string]any)
	if n := size(doc); n > maxReported || len(kept) < 10 || kept["application/z"] == nil || doc["omitted"] == nil || doc["state"] != "online" {
		t.Errorf("%d bytes, %d components, %v", n, len(kept), doc["omitted"])
	}
}

func FuzzReadDesired(f *testing.F) {
	f.Add(`{"components": {"application/a": {"version": "2.0.0"}}, "update": {"type": "Push"}, "method": "write"}`)
	f.Fuzz(func(_ *testing.T, text string) {
		var m map[string]any
		if json.Unmarshal([]byte(text), &m) == nil {
			readDesired(m)
			readResources(m, map[string]any{})
		}
	})
}

func FuzzParseResponse(f *testing.F) {
	f.Add("$iothub/twin/res/204/?$rid=1&$version=3")
	f.Fuzz(func(t *testing.T, topic string) {
		if _, _, ok := parseResponse(topic); ok && !strings.HasPrefix(topic, "$iothub/twin/res/") {
			t.Errorf("%q is no response", topic)
		}
	})
}

func FuzzDiff(f *testing.F) {
	f.Add(`{"a": {"b": 1}}`, `{"a": {"c": 2}}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		var from, to map[string]any
		if json.Unmarshal([]byte(a), &from) != nil || json.Unmarshal([]byte(b), &to) != nil {
			return
		}
		if patch := diff(to, to); len(patch) != 0 {
			t.Errorf("a document differs from itself: %v", patch)
		}
		diff(from, to)
	})
}

func noAnswers(map[string]any) {}

// FuzzRecallJob reads what stands in a twin, whoever has written it.
func FuzzRecallJob(f *testing.F) {
	j := &job{ID: "1", Component: name, Object: lwm2m.NewPath(objects.FirmwareID, 0), Goal: goal{Version: "2.0.0"}, Step: "deliver", Way: deliverPush}
	seed, err := json.Marshal(map[string]any{"components": map[string]any{name: map[string]any{"job": j.record()}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(seed))
	f.Add(`{"components": {"a/b": {"job": {"step": "withdraw", "object": "/9/1"}, "answered": 7}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var reported map[string]any
		if json.Unmarshal([]byte(text), &reported) != nil {
			return
		}
		answered(reported, name)
		j := recallJob(reported)
		if j == nil {
			return
		}
		again := recallJob(map[string]any{"components": map[string]any{j.Component: map[string]any{"job": j.record()}}})
		if j.step().name == "" || again == nil || again.Step != j.Step || again.Goal != j.Goal {
			t.Errorf("%+v becomes %+v", j, again)
		}
	})
}
