package coap_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A server and a device with a temperature sensor. On one machine plaintext is
// allowed; elsewhere it needs coap.NoSec.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()

	// The server: a table of devices, and an event for each change of it.
	listener, err := coap.Listen("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listener.Close()
	devices := make(chan *lwm2m.Device, 1)
	server := lwm2m.NewServer(lwm2m.ServerConfig{
		Model: objects.Model(),
		OnEvent: func(e lwm2m.Event) {
			if e.Kind == lwm2m.Registered {
				devices <- e.Device
			}
		},
	})
	serving, stopServer := context.WithCancel(ctx)
	running.Go(func() { _ = server.Run(serving, listener) })
	defer stopServer()

	// The device: objects, and a client that registers them.
	sensor := objects.NewSensor(objects.TemperatureID)
	sensor.Reading(0, 20.5, "Cel", time.Now())
	address := "coap://" + listener.LocalAddr().String()
	client, err := lwm2m.NewClient(lwm2m.ClientConfig{
		Endpoint: "greenhouse", Server: address, Objects: []lwm2m.Object{sensor},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	socket, err := coap.Dial(address)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer socket.Close()
	var clientDone sync.WaitGroup
	defer clientDone.Wait()
	online, stopClient := context.WithCancel(ctx)
	clientDone.Go(func() { _ = client.Run(online, socket) })
	defer stopClient()

	// The server observes; the device measures.
	device := <-devices
	values := make(chan lwm2m.Record, 10)
	temperature := lwm2m.NewPath(objects.TemperatureID, 0, objects.SensorValue)
	_, err = device.Observe(ctx, temperature, func(records []lwm2m.Record) { values <- records[0] })
	if err != nil {
		fmt.Println(err)
		return
	}
	first := <-values
	fmt.Println(device.Registration().Endpoint, first.Path, first.Value)
	client.Changed(sensor.Reading(0, 21.5, "Cel", time.Now())...)
	fmt.Println((<-values).Value)
	// Output:
	// greenhouse /3303/0/5700 20.5
	// 21.5
}
