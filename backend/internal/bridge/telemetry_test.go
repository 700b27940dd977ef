package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A heard is a message as applications get it.
type heard struct {
	properties, system map[string]string
	Time               time.Time
	Values             map[string]any
}

// listen follows the messages of a device from the first on.
func listen(t *testing.T, service *iothub.Client, device string) <-chan heard {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	messages, ended := make(chan heard, 100), make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		for e, err := range service.Events(ctx, device, "0") {
			var body iothub.Telemetry
			if err != nil || e.Type != iothub.EventTelemetry {
				continue
			}
			err := json.Unmarshal(e.Body, &body)
			m := heard{properties: body.Properties, system: body.SystemProperties}
			if err == nil {
				err = json.Unmarshal(body.Payload, &m)
			}
			if err != nil {
				t.Error(err)
			}
			messages <- m
		}
	}()
	return messages
}

func next(t *testing.T, messages <-chan heard) heard {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-time.After(time.Minute):
		t.Fatal("no message")
		return heard{}
	}
}

var temperature = lwm2m.NewPath(objects.TemperatureID, 0, objects.SensorValue)

// TestSentReadings: what an agent sends reaches applications, each reading as a
// message and in order; what it sends again, since it does not know that it has
// arrived, once. What it notifies goes to the twin only.
func TestSentReadings(t *testing.T) {
	t.Parallel()
	s, _, _, _, _ := start(t)
	messages := listen(t, s.service, endpoint)
	s.sensor.SetValue(0, objects.SensorApplication, lwm2m.String(name))
	s.client.Changed(temperature)
	eventually(t, "the twin has the reading", s.at(t, "lwm2m", "3303", "0", "5750", "value"), is(name))
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	owner := lwm2m.Record{Path: temperature.Prefix(lwm2m.DepthInstance).Child(objects.SensorApplication), Value: lwm2m.String(name)}
	var readings []lwm2m.Record
	for i := range 5 {
		readings = append(readings, lwm2m.Record{Path: temperature, Value: lwm2m.Float(20 + float64(i)), Time: at.Add(time.Duration(i) * time.Millisecond)})
	}
	for _, some := range [][]lwm2m.Record{readings[:2], readings[:4], readings[4:]} {
		if err := s.client.Send(t.Context(), append([]lwm2m.Record{owner}, some...)...); err != nil {
			t.Fatal(err)
		}
	}
	for i := range readings {
		got := next(t, messages)
		want := heard{Time: at.Add(time.Duration(i) * time.Millisecond), Values: map[string]any{"/3303/0/5700": 20 + float64(i)}}
		if got.properties["component"] != name || got.system["content-type"] != "application/json" || got.system["message-id"] == "" {
			t.Errorf("properties %v, %v", got.properties, got.system)
		}
		got.properties, got.system = nil, nil
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(heard{})); diff != "" {
			t.Error(diff)
		}
	}
}

// thermometer is a device without an agent, which tells of a sensor by notifications.
func thermometer(t *testing.T, server, endpoint string) (objects.Sensor, *lwm2m.Client) {
	t.Helper()
	sensor := objects.NewSensor(objects.TemperatureID)
	sensor.Reading(0, 0, "Cel", time.Now())
	d, _ := startDeviceWith(t, server, func(c *lwm2m.ClientConfig) {
		c.Endpoint, c.Objects = endpoint, []lwm2m.Object{sensor}
	})
	d.await(t)
	return sensor, d.client
}

// TestNotifiedReadings: each notification of a device without an agent is a message. It
// is acknowledged when the hub has that; while the hub is away, the device keeps its
// newest value, which is told when it is back.
func TestNotifiedReadings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h, stopHub := startHub(t, dir, "127.0.0.1:0", "127.0.0.1:0")
	const endpoint = "thermometer"
	s := join(t, h, endpoint)
	messages := listen(t, s.service, endpoint)
	sensor, client := thermometer(t, s.address, endpoint)
	tell := func(ctx context.Context, value float64) error {
		client.Changed(sensor.Reading(0, value, "Cel", time.Now())...)
		return client.Deliver(ctx, temperature)
	}
	await := func(want float64) {
		t.Helper()
		for {
			if got := next(t, messages).Values["/3303/0/5700"]; got == want {
				return
			} else if got != want-1 { // what an observation begins with may be told again
				t.Fatalf("told %v before %v", got, want)
			}
		}
	}
	await(0)
	for i := range 3 {
		if err := tell(t.Context(), float64(i+1)); err != nil {
			t.Fatal(err)
		}
		await(float64(i + 1))
	}
	stopHub()
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := tell(short, 4); err == nil {
		t.Error("acknowledged, and nobody has it")
	}
	delivered := make(chan error, 1)
	go func() { delivered <- client.Deliver(t.Context(), temperature) }()
	startHub(t, dir, h.MQTTAddr(), h.HTTPAddr())
	await(4)
	if err := <-delivered; err != nil {
		t.Error(err)
	}
}

// TestMessages: what belongs to one instance and one time is one message; what is too
// long for a hub is none.
func TestMessages(t *testing.T) {
	s := &session{values: values{temperature.Prefix(lwm2m.DepthInstance).Child(objects.SensorApplication): {Value: lwm2m.String(name)}}}
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	other := lwm2m.NewPath(objects.TemperatureID, 1, objects.SensorValue)
	all := s.messages([]lwm2m.Record{
		{Path: temperature, Value: lwm2m.Float(1), Time: at},
		{Path: temperature.Prefix(lwm2m.DepthInstance).Child(objects.SensorUnits), Value: lwm2m.String("Cel"), Time: at},
		{Path: other, Value: lwm2m.Float(2), Time: at},
		{Path: other, Value: lwm2m.Int(1 << 60)},
	})
	var got []string
	for _, m := range all {
		p, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%.60s %s", p.bag, p.body))
	}
	want := []string{
		`%24.ce=utf-8&%24.ct=application%2Fjson&%24.mid=` + got[0][47:60] + ` {"time":"2026-11-30T12:00:00Z","values":{"/3303/0/5700":1,"/3303/0/5701":"Cel"}}`,
		`%24.ce=utf-8&%24.ct=application%2Fjson&%24.mid=` + got[1][47:60] + ` {"time":"2026-11-30T12:00:00Z","values":{"/3303/1/5700":2}}`,
		`%24.ce=utf-8&%24.ct=application%2Fjson&%24.mid=` + got[2][47:60] + ` {"values":{"/3303/1/5700":1152921504606846976}}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := (message{Values: map[string]any{"/0": string(make([]byte, maxTelemetry))}}).encode(); err == nil {
		t.Error("a message that no hub takes")
	}
}
