package coap_test

import (
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// TestJoin has one server be reached over UDP and over TCP: it reads and observes
// devices of both, and hears of a connection that ends.
func TestJoin(t *testing.T) {
	udp, err1 := coap.Listen("127.0.0.1:0", quick())
	tcp, err2 := coap.Listen("coap+tcp://127.0.0.1:0", quick())
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	joint, err := coap.Join(udp, tcp)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := coap.Join(udp, udp); err == nil {
		t.Error("two of a scheme were joined")
	}
	events := make(chan lwm2m.Event, 100)
	server := lwm2m.NewServer(lwm2m.ServerConfig{Model: objects.Model(), OnEvent: func(e lwm2m.Event) { events <- e }, Logger: logger(t)})
	ctx := deadline(t)
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx, joint) }()
	defer func() {
		if err := joint.Close(); err != nil {
			t.Error(err)
		}
		<-served
	}()
	for name, address := range map[string]string{"over-udp": "coap://" + udp.LocalAddr().String(), "over-tcp": "coap+tcp://" + tcp.LocalAddr().String()} {
		sensor := objects.NewSensor(objects.TemperatureID)
		client, err := lwm2m.NewClient(lwm2m.ClientConfig{Endpoint: name, Server: address, Objects: []lwm2m.Object{sensor}, Logger: logger(t)})
		if err != nil {
			t.Fatal(err)
		}
		sensor.SetValue(0, objects.SensorValue, lwm2m.Float(21.5))
		conn, err := coap.Dial(address, quick())
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, conn, client.Run)
		e := <-events
		if scheme, _, _ := strings.Cut(address, "://"); e.Kind != lwm2m.Registered || !strings.HasPrefix(e.Registration.Address, scheme+"://") {
			t.Fatalf("%s: %v of %s", name, e.Kind, e.Registration.Address)
		}
		value := lwm2m.NewPath(objects.TemperatureID, 0, objects.SensorValue)
		seen := make(chan float64, 100)
		if _, err := e.Device.Observe(ctx, value, func(r []lwm2m.Record) { seen <- r[0].Value.Float() }); err != nil {
			t.Fatal(err)
		}
		sensor.SetValue(0, objects.SensorValue, lwm2m.Float(22.5))
		client.Changed(value)
		for got := range seen {
			if got == 22.5 {
				break
			}
		}
		stop()
		if e := <-events; e.Kind != lwm2m.Deregistered {
			t.Errorf("%s: %v", name, e.Kind)
		}
	}
}
