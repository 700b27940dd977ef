// Package iothub speaks Azure IoT Hub's contract from the outside: connection strings, shared access signatures (SAS),
// the MQTT topics of a device, and a small client for the service side (registry, twins, methods, events).
// The hub, the bridge, the CLI and third-party applications share it, so that each of them works against
// Tranquil's own hub, and all but [Client.Events] against Azure IoT Hub.
//
//	cs, err := iothub.ParseConnectionString(os.Getenv("TRANQUIL_HUB"))
//	…
//	client := iothub.NewClient(cs)
//	twin, err := client.Twin(ctx, "device-1")
//	…
//	for event, err := range client.Events(ctx, "device-1", "") {
//		if err != nil {
//			return err // for ever wrong, or ctx is done; everything else reconnects and resumes
//		}
//		fmt.Println(event.ID, event.Type, event.Device)
//	}
package iothub
