// Package iothub speaks Azure IoT Hub's contract from the outside: connection strings, shared access signatures (SAS),
// the MQTT topics of a device, and a small client for the service side (registry, twins, methods, events).
// The hub, the bridge, the CLI and third-party applications share it, so that each of them works against
// Tranquil's own hub, and all but [Client.Events] and [Client.Follow] against Azure IoT Hub.
//
//	cs, err := iothub.ParseConnectionString(os.Getenv("TRANQUIL_HUB"))
//	…
//	client := iothub.NewClient(cs)
//	for twin, err := range client.Follow(ctx, "device-1") {
//		if err != nil {
//			return err // for ever wrong, or ctx is done; everything else reconnects and resumes
//		}
//		fmt.Println(twin.Version, twin.Properties.Reported)
//	}
package iothub
