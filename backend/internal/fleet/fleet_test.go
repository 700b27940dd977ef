package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/reported"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// device is one that is connected and reports a document.
func device(t testing.TB, id, reported string) twin.Device {
	t.Helper()
	d := twin.New(id, noon)
	d.Connection = twin.Connection{Connected: true, Updated: noon}
	report(t, &d, reported)
	return d
}

func report(t testing.TB, d *twin.Device, reported string) {
	t.Helper()
	patch, err := twin.Decode([]byte(reported))
	if err != nil {
		t.Fatal(err)
	}
	if d.Twin, _, err = d.Twin.Apply(twin.Patch{Reported: patch}, noon); err != nil {
		t.Fatal(err)
	}
}

// TestMasking: whoever looks knows what readings are worth: live, stale until a time that has passed or not, or of a
// device that is away.
func TestMasking(t *testing.T) {
	until := noon.Add(time.Minute)
	stale := `{"state": "updating", "components": {"application/x": {"version": "1.0.0", "stale": true, "update": {"id": "u", "unavailableUntil": "2026-11-30T12:01:00Z"}}}}`
	gone := func(d *twin.Device) { d.Connection.Connected = false }
	for name, test := range map[string]struct {
		reported string
		edit     func(*twin.Device)
		now      time.Time
		state    string
		want     Masking
	}{
		"live":               {`{"state": "online", "components": {"application/x": {"version": "1.0.0", "running": true, "stale": false}}}`, nil, noon, "online", Masking{State: "live"}},
		"stopped":            {`{"state": "online", "components": {"application/x": {"version": "1.0.0", "running": false}}}`, nil, noon, "online", Masking{State: "stale"}},
		"without an agent":   {`{"state": "online", "components": {"application/x": {"object": "/9/0"}}}`, nil, noon, "online", Masking{State: "live"}},
		"stale":              {stale, nil, noon, "updating", Masking{State: "stale", Until: &until}},
		"late":               {stale, nil, noon.Add(time.Hour), "updating", Masking{State: "stale", Until: &until, Late: true}},
		"stale, who knows":   {`{"components": {"application/x": {"stale": true}}}`, nil, noon, "online", Masking{State: "stale"}},
		"offline":            {`{"state": "online", "components": {"application/x": {"stale": false}}}`, gone, noon, "offline", Masking{State: "offline", Since: &noon}},
		"away in the middle": {stale, gone, noon, "offline", Masking{State: "offline", Since: &noon}},
		"overdue, and away":  {strings.Replace(stale, "updating", "malfunction", 1), func(d *twin.Device) { gone(d); d.Overdue = &twin.Overdue{Component: "application/x", Until: until} }, noon.Add(time.Hour), "malfunction", Masking{State: "stale", Until: &until, Late: true}},
		"never there":        {`{"components": {"application/x": {}}}`, func(d *twin.Device) { d.Connection = twin.Connection{} }, noon, "new", Masking{State: "offline"}},
		"safe mode":          {`{"state": "malfunction", "mode": "safe", "fault": "x", "components": {"application/x": {"running": true}}}`, nil, noon, "malfunction", Masking{State: "live"}},
	} {
		d := device(t, "d", test.reported)
		if test.edit != nil {
			test.edit(&d)
		}
		o := Overview(d, test.now)
		if o.State != test.state || len(o.Components) != 1 {
			t.Fatalf("%s: %+v", name, o)
		}
		if diff := cmp.Diff(test.want, o.Components[0].Masking); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestRubbish: whatever a device reports, it can be looked at.
func TestRubbish(t *testing.T) {
	for _, rubbish := range []string{`{"components": 7}`, `{"components": {"x": []}}`, `{"state": {}}`, `{"components": {"a": {"update": "soon"}}}`} {
		o := Overview(device(t, "d", rubbish), noon)
		if o.Fault == "" || o.State != reported.Online {
			t.Errorf("%s: %+v", rubbish, o)
		}
	}
}

func TestFits(t *testing.T) {
	d := Overview(device(t, "Pump-1", `{"state": "updating", "components": {
		"application/x": {"version": "1.4.0", "update": {"id": "u", "result": "turned back"}},
		"firmware/gadget": {"version": "2.0.0", "update": {"id": "v", "step": "save"}}}}`), noon)
	d.Tags = map[string]any{"site": "zurich", "hall": json.Number("3"), "at": map[string]any{"floor": "2"}, "spare": true}
	for _, fits := range []string{
		"pump", "UMP", "state:updating", "-state:online", "application/x", "application/", "application/x@1.4.0", "application/x@!1.3.0", "firmware/gadget@2.0.0",
		"result:failed", "result:going", "tags.site:zurich", "tags.hall:3", "tags.at.floor:2", "tags.spare:true", "-tags.site:bern", "-tags.none:x",
	} {
		if !d.fits(fits) {
			t.Errorf("%s does not fit", fits)
		}
	}
	for _, fails := range []string{"press", "-pump", "state:", "application/y", "application/x@!1.4.0", "result:updated", "tags.site:", "tags.site.x:zurich", "tags.at:floor", "tags.:x", "other:x"} {
		if d.fits(fails) {
			t.Errorf("%s fits", fails)
		}
	}
}

func FuzzFits(f *testing.F) {
	for _, word := range []string{"pump", "-", "--x", "tags.:", "tags..:a", "@/", "application/x@!", "result:"} {
		f.Add(word, `{"components": {"application/x": {"version": "1.4.0"}}}`)
	}
	f.Fuzz(func(t *testing.T, word, reported string) {
		values, err := twin.Decode([]byte(reported))
		if err != nil {
			return
		}
		d := twin.New("d", noon)
		d.Twin.Tags, d.Twin.Reported.Values = values, values
		o := Overview(d, noon)
		if got := o.fits(word); word != "" && !strings.HasPrefix(word, "-") && o.fits("-"+word) == got {
			t.Errorf("%q and its opposite are %v", word, got)
		}
	})
}

// TestGraph: packages of several versions make one graph, in which each transform is once.
func TestGraph(t *testing.T) {
	p := func(version string, schema int, edges ...pack.Transform) *pack.Package {
		return &pack.Package{Manifest: pack.Manifest{Type: "application", Name: "x", Version: version, State: &pack.State{Schema: schema}}, Transforms: edges}
	}
	up, down := pack.Transform{From: 1, To: 2}, pack.Transform{From: 2, To: 1, Lossy: true}
	o := Offer{Component: "application/x", Packages: []*pack.Package{p("3.0.0", 2, up, down), p("2.0.0", 2, up), p("1.0.0", 1)}}
	want := Graph{
		Schemas: []Schema{{1, []string{"1.0.0"}}, {2, []string{"2.0.0", "3.0.0"}}},
		Edges:   []Edge{{1, 2, false, []string{"2.0.0", "3.0.0"}}, {2, 1, true, []string{"3.0.0"}}},
	}
	if diff := cmp.Diff(want, o.Graph()); diff != "" {
		t.Error(diff)
	}
}

// many are devices in memory.
type many struct{ all []twin.Device }

func (m *many) Device(_ context.Context, id string) (twin.Device, error) {
	for _, d := range m.all {
		if d.ID == id {
			return d, nil
		}
	}
	return twin.Device{}, twin.DeviceNotFound
}

func (*many) History(context.Context, string) (twin.History, error) { return twin.History{}, nil }

func (m *many) Devices(context.Context) iter.Seq2[twin.Device, error] { // by id
	return func(yield func(twin.Device, error) bool) {
		for _, d := range m.all {
			if !yield(d, nil) {
				return
			}
		}
	}
}

// TestSubstitutes: while a device is updated, others that measure the same at the same place are found, as long as they
// are live themselves.
func TestSubstitutes(t *testing.T) {
	const warm = `"lwm2m": {"3303": {"0": {"5700": {"value": 21.5, "ts": "2026-11-30T11:59:00.000Z"}, "5701": {"value": "Cel"}, "5750": {"value": "application/x"}}}}`
	live, stale := `"components": {"application/x": {"running": true}}`, `"components": {"application/x": {"stale": true}}`
	m := &many{all: []twin.Device{
		device(t, "masked", "{"+stale+", "+warm+"}"), device(t, "other place", "{"+live+", "+warm+"}"), device(t, "stale too", "{"+stale+", "+warm+"}"),
		device(t, "gone", "{"+live+", "+warm+"}"), device(t, "humid", `{"lwm2m": {"3304": {"0": {"5700": {"value": 50}}}}}`), device(t, "right", "{"+live+", "+warm+"}"),
	}}
	for i := range m.all {
		m.all[i].Twin.Tags = map[string]any{"site": "zurich", "hall": json.Number("3")}
	}
	m.all[1].Twin.Tags = map[string]any{"site": "bern"}
	m.all[3].Connection.Connected = false
	f := &Fleet{Devices: m}
	for want, tags := range map[string][]string{"other place right": nil, "right": {"site", "hall"}, "": {"nowhere"}} {
		var got []string
		found, err := f.Substitutes(t.Context(), "masked", 3303, tags)
		for _, r := range found {
			got = append(got, r.Device)
		}
		if joined := strings.Join(got, " "); err != nil || joined != want {
			t.Errorf("%v: %q, want %q: %v", tags, joined, want, err)
		}
	}
	mine, err := f.Readings(t.Context(), "masked")
	if err != nil {
		t.Fatal(err)
	}
	want := []Reading{{"masked", "/3303/0", json.Number("21.5"), "Cel", noon.Add(-time.Minute), "application/x", Masking{State: "stale"}}}
	if diff := cmp.Diff(want, mine); diff != "" {
		t.Error(diff)
	}
	if away, err := f.Readings(t.Context(), "gone"); err != nil || away[0].Masking.State != "offline" {
		t.Error(away, err)
	}
}

// TestMemory: what is remembered of a device is what it is now, and what is late is late at each look.
func TestMemory(t *testing.T) {
	m := &many{all: []twin.Device{device(t, "a", `{"components": {"application/x": {"version": "1.0.0", "stale": true, "update": {"id": "u", "unavailableUntil": "2026-11-30T12:01:00Z"}}}}`)}}
	f := &Fleet{Devices: m}
	see := func() Device {
		t.Helper()
		found, err := f.Find(t.Context(), "")
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		return found[0]
	}
	if c := see().Components[0]; !c.Masking.Late || c.Version != "1.0.0" {
		t.Errorf("%+v", c)
	}
	if f.memory.known["a"].Components[0].Masking.Late {
		t.Error("what is late now was remembered")
	}
	report(t, &m.all[0], `{"components": {"application/x": {"version": "2.0.0"}}}`)
	if c := see().Components[0]; c.Version != "2.0.0" {
		t.Errorf("%+v", c)
	}
	m.all[0].Disabled, m.all[0].Revision = true, m.all[0].Revision+1
	if see().Enabled {
		t.Error("it is let in")
	}
	m.all[0].Connection.Connected = false
	if see().State != reported.Offline {
		t.Error("it is there")
	}
	for i := range 300 {
		m.all[0].ID = fmt.Sprint(i)
		see()
	}
	if len(f.memory.known) > 110 {
		t.Errorf("%d devices are remembered, there is one", len(f.memory.known))
	}
}

// BenchmarkFind looks at 10,000 devices, of which some have changed since: each follower of the list does so whenever
// something happens, at most once a second.
func BenchmarkFind(b *testing.B) {
	const reported = `{"state": "online", "components": {"application/x": {"version": "1.4.0", "schema": 2, "running": true, "stale": false, "previous": {"version": "1.3.0", "way": "transforms"}, "update": {"id": "u", "result": "updated", "downtime": 1.2}}}, "lwm2m": {"3303": {"0": {"5700": {"value": 21.5}}}}}`
	m := &many{}
	for i := range 10_000 {
		m.all = append(m.all, device(b, fmt.Sprintf("device-%05d", i), reported))
	}
	f := &Fleet{Devices: m}
	for b.Loop() {
		for i := range 100 {
			m.all[i].Twin.Version++
		}
		found, err := f.Find(b.Context(), "state:online application/x@1.4.0 -result:failed")
		if err != nil || len(found) != len(m.all) || !slices.IsSortedFunc(found, func(a, b Device) int { return strings.Compare(a.ID, b.ID) }) {
			b.Fatal(len(found), err)
		}
	}
}
