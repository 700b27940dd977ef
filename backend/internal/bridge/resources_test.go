package bridge

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// thingID is an object of which nothing but the device knows anything.
const thingID = 33000

func newThing() *objects.Memory {
	m := objects.NewMemory(lwm2m.Definition{ID: thingID, Name: "Thing", Multiple: true, Resources: []lwm2m.Resource{
		{ID: 0, Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: 1, Operations: lwm2m.RW, Kind: lwm2m.KindInteger},
		{ID: 2, Operations: lwm2m.E},
		{ID: 3, Operations: lwm2m.W, Kind: lwm2m.KindString},
		{ID: 4, Operations: lwm2m.R, Kind: lwm2m.KindInteger, Multiple: true},
		{ID: 5, Operations: lwm2m.RW, Kind: lwm2m.KindOpaque},
		{ID: 6, Operations: lwm2m.RW, Kind: lwm2m.KindInteger, Multiple: true},
		{ID: 7, Operations: lwm2m.RW, Kind: lwm2m.KindTime},
		{ID: 8, Operations: lwm2m.RW, Kind: lwm2m.KindFloat},
	}})
	m.SetValue(0, 0, lwm2m.String("attic"))
	m.SetValue(0, 1, lwm2m.Int(1))
	for i := range uint16(2) {
		m.Set(lwm2m.Record{Path: lwm2m.NewPath(thingID, 0, 4, i), Value: lwm2m.Int(int64(i))})
	}
	return m
}

// never has the device not answer, refusal405 refuse.
const (
	never      = "0='never'"
	refusal405 = "0='refuse'"
)

func (d *device) pull(ctx context.Context, _ lwm2m.Path, arguments string) error {
	d.mu.Lock()
	d.pulled = append(d.pulled, arguments)
	d.mu.Unlock()
	if arguments == never {
		<-ctx.Done()
	}
	if arguments == refusal405 {
		return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "not now")
	}
	return nil
}

func (d *device) pulls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.pulled)
}

func (d *device) thingAt(resource uint16) func() lwm2m.Value {
	return func() lwm2m.Value { return d.thing.Value(lwm2m.NewPath(thingID, 0, resource)) }
}

func isValue(want lwm2m.Value) func(lwm2m.Value) bool {
	return func(got lwm2m.Value) bool { return got == want }
}

// hasDone is whether a device has executed something: the twin knows the number before it
// does, with an error until then.
func hasDone(number float64) func(any) bool {
	return func(v any) bool { return cmp.Equal(v, map[string]any{"number": number}) }
}

func tree(resources map[string]any) map[string]any {
	return map[string]any{"lwm2m": map[string]any{"33000": map[string]any{"0": resources}}}
}

// TestResources asks for everything that can be asked of single resources, of an
// object that the bridge knows nothing of.
func TestResources(t *testing.T) {
	s, _, _, _, stopDevice := start(t)
	leaf := func(resource, property string) func() any {
		return s.at(t, "lwm2m", "33000", "0", resource, property)
	}
	s.desire(t, tree(map[string]any{
		"0": map[string]any{"value": "hall", "observed": true},
		"1": map[string]any{"value": 7},
		"2": map[string]any{"execute": 1, "arguments": "0='x'"},
		"3": map[string]any{"value": "secret"},
		"4": map[string]any{},
		"9": map[string]any{},
	}))
	eventually(t, "a text", s.thingAt(0), isValue(lwm2m.String("hall")))
	eventually(t, "a number", s.thingAt(1), isValue(lwm2m.Int(7)))
	eventually(t, "what can be written only", s.thingAt(3), isValue(lwm2m.String("secret")))
	eventually(t, "what is not there", leaf("9", "err"), func(v any) bool { text, _ := v.(string); return strings.Contains(text, "4.04") })
	eventually(t, "the text in the twin", leaf("0", "value"), is("hall"))
	eventually(t, "the number in the twin", leaf("1", "value"), is(7.0))
	eventually(t, "several values", leaf("4", "value"), func(v any) bool { return cmp.Equal(v, map[string]any{"0": 0.0, "1": 1.0}) })
	eventually(t, "what was executed", s.at(t, "executed", "/33000/0/2"), hasDone(1))
	first := leaf("0", "av")()
	if v := leaf("3", "value")(); v != nil || first == nil {
		t.Errorf("the twin shows %v of what cannot be read; the answer is to version %v", v, first)
	}

	s.thing.SetValue(0, 0, lwm2m.String("cellar"))
	s.client.Changed(lwm2m.NewPath(thingID, 0, 0))
	eventually(t, "a notification", leaf("0", "value"), is("cellar"))
	s.desire(t, tree(map[string]any{"1": map[string]any{"value": "seven"}, "9": nil}))
	eventually(t, "no number", leaf("1", "err"), func(v any) bool { text, _ := v.(string); return strings.Contains(text, "seven") })
	eventually(t, "nobody asks for it any more", leaf("9", "err"), is(nil))
	if now, then := leaf("1", "av")(), leaf("0", "av")(); then != first || now == first {
		t.Errorf("a new wish was answered with version %v, an old one with %v; before it was %v", now, then, first)
	}
	if got := s.thingAt(0)(); got != lwm2m.String("cellar") {
		t.Errorf("what the device has changed was fought over: %v", got)
	}
	if all := s.pulls(); !cmp.Equal(all, []string{"0='x'"}) {
		t.Errorf("executed: %q", all)
	}

	stopDevice()
	eventually(t, "a device that has gone", s.at(t, "state"), is("offline"))
	s.device, stopDevice = startDevice(t, s.address)
	eventually(t, "the text again", s.thingAt(0), isValue(lwm2m.String("hall")))
	s.desire(t, tree(map[string]any{"2": map[string]any{"execute": 2, "arguments": nil}}))
	eventually(t, "another number", s.at(t, "executed", "/33000/0/2"), hasDone(2))
	if all := s.pulls(); !cmp.Equal(all, []string{""}) {
		t.Errorf("executed after the restart: %q", all)
	}
	if v := s.thingAt(3)(); v.Kind() != lwm2m.KindNone {
		t.Errorf("what cannot be read was written again: %v", v)
	}
	s.desire(t, tree(map[string]any{"3": map[string]any{"value": "another"}}))
	eventually(t, "another value of it", s.thingAt(3), isValue(lwm2m.String("another")))

	s.desire(t, tree(map[string]any{"2": map[string]any{"execute": 9, "arguments": refusal405}}))
	eventually(t, "one that is refused", s.at(t, "executed", "/33000/0/2", "err"), is("4.05: not now"))
	s.desire(t, tree(map[string]any{"2": map[string]any{"execute": 3, "arguments": never}}))
	eventually(t, "one that is never answered", s.pulls, last(never))
	stopDevice()
	eventually(t, "its number", s.at(t, "executed", "/33000/0/2", "number"), is(3.0))
	s.device, _ = startDevice(t, s.address)
	eventually(t, "that nobody knows", leaf("2", "err"), is(errUnanswered.Error()))
	if all := s.pulls(); len(all) != 0 {
		t.Errorf("what was not answered was executed again: %q", all)
	}
}

// TestNumbersThatNoTwinHolds are shown as text; nothing else of the device is lost by
// them, not even by a name that no component has.
func TestNumbersThatNoTwinHolds(t *testing.T) {
	t.Parallel()
	s, _, _, _, _ := start(t)
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	s.thing.SetValue(0, 8, lwm2m.Float(1e16))
	s.desire(t, tree(map[string]any{"1": map[string]any{"observed": true}, "8": map[string]any{"observed": true}}))
	s.thing.SetValue(0, 1, lwm2m.Int(math.MaxInt64))
	s.client.Changed(lwm2m.NewPath(thingID, 0))
	s.client.Changed(s.sensor.Reading(0, math.NaN(), "Cel", time.Now())...)
	s.updates.SetValue(1, objects.ComponentName, lwm2m.String("no component"))
	s.updates.SetValue(0, objects.ComponentProgress, lwm2m.Float(math.Inf(1)))
	s.updates.SetValue(0, objects.ComponentUpdateIdentifier, lwm2m.String("u1"))
	s.client.ObjectsChanged()
	s.set(objects.ComponentVersion, lwm2m.String("1.1.0"))
	eventually(t, "an integer", s.at(t, "lwm2m", "33000", "0", "1", "value"), is("9223372036854775807"))
	eventually(t, "a whole float", s.at(t, "lwm2m", "33000", "0", "8", "value"), is("1e+16"))
	eventually(t, "no number", s.at(t, "lwm2m", "3303", "0", "5700", "value"), is("NaN"))
	eventually(t, "no progress", s.at(t, "components", name, "update", "progress"), is("+Inf"))
	eventually(t, "all else", s.at(t, "components", name, "version"), is("1.1.0"))
	s.client.Changed(s.sensor.Reading(0, 4, "Cel", time.Now())...)
	eventually(t, "a sane value", s.at(t, "lwm2m", "3303", "0", "5700", "value"), is(4.0))
}

// TestTimesOfBadClocks: one that was never set is in 1970; what no calendar has is a number
// of seconds.
func TestTimesOfBadClocks(t *testing.T) {
	second := func(n int64) lwm2m.Value {
		v, err := lwm2m.Int(n).Convert(lwm2m.KindTime)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for n, want := range map[int64]any{
		0: "1970-01-01T00:00:00Z", 300: "1970-01-01T00:05:00Z", -1: "1969-12-31T23:59:59Z",
		253402300799: "9999-12-31T23:59:59Z", 253402300800: int64(253402300800), math.MaxInt64: int64(math.MaxInt64), math.MinInt64: int64(math.MinInt64),
	} {
		if got := exact(second(n)); got != want {
			t.Errorf("%d: %v", n, got)
		}
		if got := plain(second(n)); got != fmt.Sprint(want) {
			t.Errorf("%d in a twin: %v", n, got)
		}
	}
}

func TestReadResources(t *testing.T) {
	for name, test := range map[string]struct {
		desired map[string]any
		want    resources
		refused string // path
	}{
		"nothing":             {map[string]any{}, resources{}, ""},
		"a resource":          {map[string]any{"lwm2m": map[string]any{"3": map[string]any{"0": map[string]any{"14": map[string]any{"value": "+01:00"}}}}}, resources{lwm2m.NewPath(3, 0, 14): {value: "+01:00"}}, ""},
		"no tree":             {map[string]any{"lwm2m": "all"}, resources{}, "lwm2m"},
		"keys":                {map[string]any{"lwm2m": map[string]any{"0": map[string]any{"0": map[string]any{"5": map[string]any{}}}}}, resources{}, "lwm2m/0"},
		"a component":         {map[string]any{"lwm2m": map[string]any{"26250": map[string]any{}}}, resources{}, "lwm2m/26250"},
		"no id":               {map[string]any{"lwm2m": map[string]any{"3": map[string]any{"first": map[string]any{}}}}, resources{}, "lwm2m/3/first"},
		"a path":              {map[string]any{"lwm2m": map[string]any{"3/0": map[string]any{}}}, resources{}, "lwm2m/3/0"},
		"a bare value":        {tree(map[string]any{"0": "hall"}), resources{}, "lwm2m/33000/0/0"},
		"a value of no type":  {tree(map[string]any{"0": map[string]any{"value": []any{}}}), resources{}, "lwm2m/33000/0/0"},
		"no number":           {tree(map[string]any{"0": map[string]any{"execute": 1.5}}), resources{}, "lwm2m/33000/0/0"},
		"bad arguments":       {tree(map[string]any{"0": map[string]any{"execute": 1.0, "arguments": "x"}}), resources{}, "lwm2m/33000/0/0"},
		"an unknown property": {tree(map[string]any{"0": map[string]any{"values": 1.0}}), resources{}, "lwm2m/33000/0/0"},
	} {
		refused := map[string]any{}
		got := readResources(test.desired, refused)
		if !cmp.Equal(test.want, got, cmp.AllowUnexported(resource{}), cmp.Comparer(func(a, b lwm2m.Path) bool { return a == b })) || len(refused) > 1 || test.refused != "" && refused[test.refused] == nil {
			t.Errorf("%s: %v, refused %v", name, got, refused)
		}
	}
	many := map[string]any{}
	for i := range maxResources + 1 {
		many[lwm2m.NewPath(uint16(i)).String()[1:]] = map[string]any{}
	}
	refused := map[string]any{}
	if got := readResources(tree(many), refused); len(got) != maxResources || len(refused) != 1 {
		t.Errorf("%d resources, refused %v", len(got), refused)
	}
}
