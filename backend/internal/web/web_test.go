package web

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/reported"
)

func TestDiff(t *testing.T) {
	lines := func(from, to int) string {
		var b strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintf(&b, "%d\n", i)
		}
		return b.String()
	}
	for name, test := range map[string]struct{ before, after, want string }{
		"nothing":          {"a\nb", "a\nb", ""},
		"one line":         {"a\nb\nc", "a\nx\nc", " a|-b|+x| c"},
		"added at the end": {"a", "a\nb", " a|+b"},
		"far apart":        {lines(1, 20), strings.Replace(lines(1, 20), "10\n", "ten\n", 1), "…| 7| 8| 9|-10|+ten| 11| 12| 13|…"},
	} {
		var got []string
		for _, l := range diff(test.before, test.after) {
			got = append(got, l.Sign+l.Text)
		}
		if joined := strings.Join(got, "|"); joined != test.want {
			t.Errorf("%s: %s", name, joined)
		}
	}
	if long := diff("a\n"+lines(1, 40000)+"z", "a\n"+lines(50001, 90000)+"z"); len(long) != 80000+2 { // a table of them would take gigabytes
		t.Errorf("%d lines", len(long))
	}
}

// TestEdited: what somebody has written becomes the twin, by a patch of what differs alone.
func TestEdited(t *testing.T) {
	before, _, err := twin.New("d", time.Now()).Twin.Apply(twin.Patch{
		Tags: map[string]any{"site": "zurich"}, Desired: map[string]any{"a": json.Number("1"), "b": map[string]any{"c": "x", "d": "y"}, "gone": true},
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	page := &twinPage{Tags: `{"site": "zurich"}`, Desired: `{"a": 1, "b": {"c": "x", "d": "z"}, "new": [1]}`}
	patch, after, err := edited(before, page)
	if err != nil {
		t.Fatal(err)
	}
	want := fleet.Patch{Desired: map[string]any{"b": map[string]any{"d": "z"}, "gone": nil, "new": []any{json.Number("1")}}}
	if d := cmp.Diff(want, patch); d != "" {
		t.Error(d)
	}
	if text, err := pretty(after.Desired.Values); err != nil || !same(mustDecode(t, page.Desired), mustDecode(t, text)) {
		t.Error(text, err)
	}
	for _, bad := range []string{"", "{", "[]", `{"a.b": 1}`, `{"a": [null]}`} {
		if _, _, err := edited(before, &twinPage{Tags: "{}", Desired: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func mustDecode(t *testing.T, text string) map[string]any {
	t.Helper()
	object, err := twin.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// TestTimeline shows an update at each step that there is, and none at one that is not known.
func TestTimeline(t *testing.T) {
	for object, known := range map[string][]phase{"": byAgent, "/5/0": byBridge} {
		done := 0
		for _, p := range known {
			for _, s := range p.Steps {
				text := fmt.Sprint(timeline(fleet.Component{Component: reported.Component{Object: object, Update: &reported.Update{Step: s.Name, Back: true}}}))
				if strings.Count(text, " done}") != done || !strings.Contains(text, "{"+s.Name+" back}") {
					t.Errorf("%s: %s", s.Name, text)
				}
				done++
			}
		}
	}
	if all := timeline(fleet.Component{Component: reported.Component{Update: &reported.Update{Step: "dance"}}}); all != nil {
		t.Error(all)
	}
}

// TestDrawing: each arrow begins and ends within the drawing, labels too.
func TestDrawing(t *testing.T) {
	g := fleet.Graph{Schemas: []fleet.Schema{{Number: 1}, {Number: 2}, {Number: 7}}, Edges: []fleet.Edge{{From: 1, To: 2}, {From: 2, To: 7}, {From: 7, To: 1, Lossy: true}}}
	d := draw(g)
	if len(d.Nodes) != 3 || len(d.Arcs) != 3 {
		t.Fatalf("%+v", d)
	}
	for _, a := range d.Arcs {
		if a.X < 0 || a.X > d.Width || a.Y < 8 || a.Y > d.Height-4 {
			t.Errorf("%+v is outside of %d×%d", a, d.Width, d.Height)
		}
	}
	if empty := draw(fleet.Graph{}); empty.Nodes != nil {
		t.Error(empty)
	}
}

// FuzzDiff: without the lines that are new it is the text before, and without those that are gone the text after.
func FuzzDiff(f *testing.F) {
	f.Add("a\nb", "b\nc")
	f.Fuzz(func(t *testing.T, before, after string) {
		if len(before)+len(after) > 2000 {
			return
		}
		if got := diff(before, after); before == after && len(got) != 0 || before != after && len(got) == 0 {
			t.Errorf("%q %q: %v", before, after, got)
		}
	})
}
