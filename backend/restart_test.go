package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// bridgeProcess is a bridge of its own process, which may be killed and started anew.
type bridgeProcess struct {
	*exec.Cmd
	data, hub, lwm2m string
}

func (b *bridgeProcess) start(t *testing.T) {
	t.Helper()
	config := filepath.Join(b.data, "bridge.toml")
	text := fmt.Sprintf("data = %q\n[bridge]\nlwm2m = %q\nhub = %q\nobjects = %q\n", b.data, b.lwm2m, b.hub, b.data)
	for name, text := range map[string]string{config: text, filepath.Join(b.data, "33001.xml"): counterXML} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_ = os.Remove(filepath.Join(b.data, "endpoints.json"))
	b.Cmd = exec.Command("tranquil-backend", "bridge", "--config", config)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	var endpoints endpoints
	within(t, "the bridge listens", func() bool {
		text, err := os.ReadFile(filepath.Join(b.data, "endpoints.json"))
		return err == nil && json.Unmarshal(text, &endpoints) == nil
	})
	b.lwm2m = endpoints.Bridge.LwM2M
}

func (b *bridgeProcess) kill() {
	_ = b.Process.Kill()
	_ = b.Wait()
}

// counter is an object of which nobody but its device knows anything.
var counter = lwm2m.Definition{ID: 33001, Name: "Counter", Multiple: true, Resources: []lwm2m.Resource{
	{ID: 0, Operations: lwm2m.R, Kind: lwm2m.KindInteger},
	{ID: 1, Operations: lwm2m.R, Kind: lwm2m.KindInteger},
}}

// counterXML has the bridge know it.
const counterXML = `<LWM2M><Object ObjectType="MODefinition"><Name>Counter</Name><ObjectID>33001</ObjectID><ObjectVersion>1.0</ObjectVersion><MultipleInstances>Multiple</MultipleInstances><Mandatory>Optional</Mandatory><Resources>
<Item ID="0"><Name>Count</Name><Operations>R</Operations><MultipleInstances>Single</MultipleInstances><Mandatory>Optional</Mandatory><Type>Integer</Type></Item>
<Item ID="1"><Name>Another</Name><Operations>R</Operations><MultipleInstances>Single</MultipleInstances><Mandatory>Optional</Mandatory><Type>Integer</Type></Item>
</Resources></Object></LWM2M>`

// TestKilledBridge: a bridge is killed, and started anew when its devices have measured
// on. They do not notice, for a day if need be, and all that they observe for the
// twin, for a method or unasked goes on, with no value lost.
func TestKilledBridge(t *testing.T) {
	t.Parallel()
	h := startHubProcess(t, "")
	if _, err := h.client.CreateDevice(t.Context(), "counter"); err != nil {
		t.Fatal(err)
	}
	b := &bridgeProcess{data: t.TempDir(), hub: h.device.String(), lwm2m: "127.0.0.1:0"}
	b.start(t)
	t.Cleanup(b.kill)

	memory, sensor := objects.NewMemory(counter), objects.NewSensor(objects.TemperatureID)
	paths := []lwm2m.Path{lwm2m.NewPath(33001, 0, 0), lwm2m.NewPath(33001, 0, 1), lwm2m.NewPath(objects.TemperatureID, 0, objects.SensorValue)}
	count := func(n int64) {
		memory.SetValue(0, 0, lwm2m.Int(n))
		memory.SetValue(0, 1, lwm2m.Int(n))
		sensor.Reading(0, float64(n), "Cel", time.Now())
	}
	count(0)
	var registrations atomic.Int32
	client, err := lwm2m.NewClient(lwm2m.ClientConfig{
		Endpoint: "counter", Server: "coap://" + b.lwm2m, Lifetime: 24 * time.Hour, Objects: []lwm2m.Object{memory, sensor}, Version: "1.0",
		OnRegistered: func(yes bool) { registrations.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := coap.Dial("coap://"+b.lwm2m, coap.WithTransmission(coap.Transmission{AckTimeout: 500 * time.Millisecond, MaxRetransmit: 9}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var device sync.WaitGroup
	device.Go(func() { _ = client.Run(ctx, socket); socket.Close() })
	t.Cleanup(func() { cancel(); device.Wait() })

	heard := listenFor(t, h.client, "counter")
	desired := map[string]any{"lwm2m": map[string]any{"33001": map[string]any{"0": map[string]any{"0": map[string]any{"observed": true}}}}}
	if _, err := h.client.PatchTwin(t.Context(), "counter", iothub.TwinPatch{Desired: desired}, ""); err != nil {
		t.Fatal(err)
	}
	within(t, "a method has the second observed", func() bool {
		answer, err := h.client.CallMethod(t.Context(), "counter", iothub.Method{Name: "observe", Payload: map[string]any{"path": "/33001/0/1"}})
		return err == nil && answer.Status == 200
	})
	within(t, "the twin remembers that", func() bool {
		twin, err := h.client.Twin(t.Context(), "counter")
		return err == nil && twin.Properties.Reported["observed"] != nil
	})
	deliver := func(n int64) <-chan error {
		count(n)
		done := make(chan error, 1)
		go func() { done <- client.Deliver(t.Context(), paths...) }()
		return done
	}
	for n := int64(1); n <= 6; n += 3 {
		if err := <-deliver(n); err != nil {
			t.Fatal(err)
		}
		b.kill()
		waiting := deliver(n + 1)
		b.start(t)
		if err := <-waiting; err != nil {
			t.Fatal(err)
		}
		if err := <-deliver(n + 2); err != nil {
			t.Fatal(err)
		}
	}
	within(t, "applications have all values", func() bool {
		for _, p := range paths {
			for n := range 7 {
				if !heard(p.String(), float64(n)) {
					return false
				}
			}
		}
		return true
	})
	if n := registrations.Load(); n != 1 {
		t.Errorf("the device has noticed %d times", n)
	}
}

// listenFor follows what a device tells applications, and says whether it has told a
// value.
func listenFor(t *testing.T, service *iothub.Client, device string) (heard func(path string, value float64) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var ended sync.WaitGroup
	all := map[string]map[float64]bool{}
	ended.Go(func() {
		for e, err := range service.Events(ctx, device, "0") {
			var body iothub.Telemetry
			var message struct{ Values map[string]any }
			if err != nil || e.Type != iothub.EventTelemetry || json.Unmarshal(e.Body, &body) != nil || json.Unmarshal(body.Payload, &message) != nil {
				continue
			}
			mu.Lock()
			for path, v := range message.Values {
				if all[path] == nil {
					all[path] = map[float64]bool{}
				}
				if value, is := v.(float64); is {
					all[path][value] = true
				}
			}
			mu.Unlock()
		}
	})
	t.Cleanup(func() { cancel(); ended.Wait() })
	return func(path string, value float64) bool {
		mu.Lock()
		defer mu.Unlock()
		return all[path][value]
	}
}
