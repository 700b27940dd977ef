package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

const reported = `{
	"state": "online",
	"components": {"application/sensor-adapter": {"version": "1.0.0", "schema": 1, "running": true, "stale": false}},
	"lwm2m": {"3303": {"0": {"5700": {"value": 21.5, "ts": "2026-11-22T08:00:00Z"}, "5701": {"value": "Cel"}}}}
}`

func TestRead(t *testing.T) {
	until := time.Date(2026, 11, 22, 8, 0, 4, 0, time.UTC)
	for _, c := range []struct {
		name, patch string
		want        view
	}{
		{"live", `{}`, view{Worth: "live", Why: "sensor-adapter 1.0.0", Reading: "21.5 Cel"}},
		{
			"stale",
			`{"components":{"application/sensor-adapter":{"stale":true,"update":{"to":"2.0.0","unavailableUntil":"2026-11-22T08:00:04Z"}}}}`,
			view{Worth: "stale", Why: "sensor-adapter 1.0.0, becomes 2.0.0", Until: until, Reading: "21.5 Cel"},
		},
		{"offline", `{"state":"offline"}`, view{Worth: "offline", Why: "sensor-adapter 1.0.0", Reading: "21.5 Cel"}},
		{"deleted", `{"lwm2m":null,"components":null}`, view{Worth: "live"}},
		{"strange", `{"state":7}`, view{Worth: "offline", Why: "sensor-adapter 1.0.0", Reading: "21.5 Cel"}},
	} {
		var doc, patch map[string]any
		for text, into := range map[string]*map[string]any{reported: &doc, c.patch: &patch} {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(c.want, read(iothub.Merge(doc, patch))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestScreenSaysOnlyWhatIsNew(t *testing.T) {
	var out strings.Builder
	s := &screen{out: &out, every: 5 * time.Second}
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i, v := range []view{
		{Worth: "live", Reading: "1"},
		{Worth: "live", Reading: "2"}, // too early
		{Worth: "stale", Reading: "2"},
		{Worth: "stale", Reading: "2"}, // nothing new
		{Worth: "stale", Reading: "2", Until: noon},
	} {
		s.show(v, noon.Add(time.Duration(i)*time.Second))
	}
	s.show(view{Worth: "stale", Reading: "3", Until: noon}, noon.Add(time.Minute))
	if n := strings.Count(out.String(), "\n"); n != 4 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}
