package hub

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseUsername(t *testing.T) {
	for text, want := range map[string]username{
		"hub/dev1/?api-version=2021-04-12":                                     {device: "dev1"},
		"hub/dev1/api-version=2016-11-14":                                      {device: "dev1"},
		"hub/dev1/?api-version=2021-04-12&DeviceClientType=azure-iot%2F1.18.4": {device: "dev1"},
		"hub/dev1/mod/?api-version=x&model-id=dtmi:a;1":                        {},
		"hub/dev1/mod/?api-version=x&model-id=dtmi%3Aa%3B1":                    {device: "dev1", module: "mod"},
		"hub/dev1": {}, "hub/dev1/": {}, "hub/dev1/?api-version=": {}, "hub//?api-version=1": {},
		"hub/dev1//?api-version=1": {}, "a/b/c/d/?api-version=1": {}, "": {}, "hub/d d/?api-version=1": {},
	} {
		got, err := parseUsername(text)
		if (err == nil) != (want.device != "") {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil && got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzParseUsername(f *testing.F) {
	f.Add("hub/dev1/?api-version=2021-04-12&DeviceClientType=a%2Fb")
	f.Add("hub/dev1/mod/api-version=1")
	f.Add("//?%zz=&api-version")
	f.Fuzz(func(t *testing.T, text string) {
		name, err := parseUsername(text)
		if err == nil && (name.device == "" || strings.Contains(name.device, "/")) {
			t.Errorf("%q: %+v", text, name)
		}
	})
}

func TestParseTopic(t *testing.T) {
	for topic, want := range map[string]request{
		"devices/d/messages/events":                                 {operation: opTelemetry, properties: map[string]string{}},
		"devices/d/messages/events/":                                {operation: opTelemetry, properties: map[string]string{}},
		"devices/d/messages/events/a=b&c=&d/":                       {operation: opTelemetry, properties: map[string]string{"a": "b", "c": "", "d": ""}},
		"devices/d/messages/events/%24.ct=a%2Fb&x=%z":               {operation: opTelemetry, properties: map[string]string{"$.ct": "a/b", "x": "%z"}},
		"$iothub/twin/GET/?$rid=7":                                  {operation: opTwinGet, rid: "7"},
		"$iothub/twin/PATCH/properties/reported/?$rid=7&$version=3": {operation: opReported, rid: "7", base: 3},
		"$iothub/methods/res/-7/?$rid=1f":                           {operation: opMethodAnswer, rid: "1f", status: -7},
	} {
		got, err := parseTopic(username{device: "d"}, topic)
		if err != nil {
			t.Errorf("%q: %v", topic, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(request{})); diff != "" {
			t.Errorf("%q: %s", topic, diff)
		}
	}
	for _, topic := range []string{
		"", "devices/e/messages/events/", "devices/d/messages/eventsx", "devices/d/messages/events/a/b", "devices/d/messages/events/+",
		"$iothub/twin/GET/", "$iothub/twin/GET/?$rid=", "$iothub/twin/GET/?$rid=#", "$iothub/twin/PATCH/properties/desired/?$rid=1",
		"$iothub/twin/PATCH/properties/reported/?$rid=1&$version=x", "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=0",
		"$iothub/methods/res/200", "$iothub/methods/res/200/?$rid=", "$iothub/methods/res/ok/?$rid=1", "$iothub/methods/res//?$rid=1",
	} {
		if got, err := parseTopic(username{device: "d"}, topic); err == nil {
			t.Errorf("%q: %+v", topic, got)
		}
	}
}

func FuzzParseTopic(f *testing.F) {
	f.Add("d", "", "devices/d/messages/events/a=b&$.ct=x/")
	f.Add("d", "m", "devices/d/modules/m/messages/events/%24.on=a/")
	f.Add("d", "", "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=2")
	f.Add("d#", "", "devices/d#/messages/events")
	f.Fuzz(func(t *testing.T, device, module, topic string) {
		r, err := parseTopic(username{device, module}, topic)
		if err == nil && r.operation != opTelemetry && (r.rid == "" || strings.ContainsAny(r.rid, "+#\x00")) {
			t.Errorf("%q: the answer's topic would be broken: %+v", topic, r)
		}
	})
}

func FuzzReadPacket(f *testing.F) {
	f.Add([]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"))
	f.Add([]byte("\x30\x05\x00\x01a12"))
	f.Add([]byte("\x82\x06\x00\x01\x00\x01#\x00"))
	f.Add([]byte("\xa2\x05\x00\x01\x00\x01#"))
	f.Add([]byte("\xe0\x00\xc0\x00\x40\x02\x00\x01"))
	f.Add([]byte("\x3f\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(data), 512)
		for {
			packet, err := readPacket(r)
			if err != nil {
				return
			}
			packet.Details()
		}
	})
}
