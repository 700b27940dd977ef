package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

func TestDescribeEvent(t *testing.T) {
	until, err := time.Parse(time.RFC3339, "2026-11-22T08:00:04Z")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ kind, body, want string }{
		{iothub.EventDeviceConnected, ``, "connected"},
		{iothub.EventDeviceDisconnected, ``, "disconnected"},
		{iothub.EventTelemetry, `{"payload":"aGVsbG8K"}`, "telemetry hello"},
		{iothub.EventTwinChanged, `{"version":8}`, "twin changed"},
		{iothub.EventTwinChanged, `{"tags":{"site":"hall"}}`, "tag site = hall"},
		{
			iothub.EventTwinChanged, `{"properties":{"desired":{"$version":2,"a":[1],"components":{"application/x":{"version":"2.0.0","check":null}}}}}`,
			"desired a = [1]; wish for application/x: check none, version 2.0.0",
		},
		{
			iothub.EventTwinChanged, `{"properties":{"reported":{"state":"updating","components":{"application/x":{"stale":true,"update":
			{"id":"u","to":"2.0.0","phase":"execution","step":"stop","progress":0.4,"unavailableUntil":"2026-11-22T08:00:04Z","result":null}}}}}}`,
			"application/x: to 2.0.0, execution, stop, 40 %, unavailable until " + until.Local().Format(time.RFC3339) + ", stale true; state updating",
		},
		{
			iothub.EventTwinChanged, `{"properties":{"reported":{"components":{"application/x":{"version":"1.0.0","update":{"result":"turned back","cause":"a\n\tb","downtime":2.5}}}}}}`,
			"application/x: turned back, cause: a b, downtime 2.5 s, version 1.0.0",
		},
		{
			iothub.EventTwinChanged, `{"properties":{"reported":{"components":{"application/x":{"update":{"kind":"restore","to":"1.0.0","result":"refused","cancelled":true,"warnings":"w"}}}}}}`,
			"application/x: restore, to 1.0.0, refused, as was asked for, WARNING: w",
		},
		{
			iothub.EventTwinChanged, `{"properties":{"reported":{"lwm2m":{"3303":{"0":{"5700":{"value":21.5,"ts":"2026-11-22T08:00:04Z"},"5701":null}}},"refused":{"components/y":"no"}}}}`,
			"/3303/0/5700 = 21.5; /3303/0/5701 gone; refused components/y: no",
		},
		{iothub.EventTwinChanged, `{"properties":{"reported":{"components":null,"lwm2m":3}}}`, "components none; lwm2m 3"},
	} {
		event := iothub.Event{Type: test.kind, Body: json.RawMessage(test.body)}
		if got := describeEvent(event); got != test.want {
			t.Errorf("%s\ngot  %s\nwant %s", test.body, got, test.want)
		}
	}
}

func FuzzDescribeEvent(f *testing.F) {
	f.Add(`{"properties":{"reported":{"components":{"application/x":{"update":{"progress":"much"}}}}}}`)
	f.Add(`{"tags":{"a":"\u001b[2J"}}`)
	f.Fuzz(func(t *testing.T, body string) {
		got := describeEvent(iothub.Event{Type: iothub.EventTwinChanged, Body: json.RawMessage(body)})
		if got == "" || got != oneLine(got) {
			t.Errorf("%q is not one line", got)
		}
	})
}
