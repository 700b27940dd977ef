// Command dashboard is a back-end application as a third party would write
// it: it knows the twin and its events, and nothing else of Tranquil. It
// prints the readings of one device, and says when they are live, stale or
// offline, and until when.
//
//	dashboard -device device-1        # connection string in TRANQUIL_HUB
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

func main() {
	hub := flag.String("hub", os.Getenv("TRANQUIL_HUB"), "service connection string of the hub")
	device := flag.String("device", "device-1", "device to watch")
	every := flag.Duration("every", 5*time.Second, "least time between two readings that are printed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, *hub, *device, *every, os.Stdout); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

// run follows one device until ctx ends.
func run(ctx context.Context, hub, device string, every time.Duration, out io.Writer) error {
	connection, err := iothub.ParseConnectionString(hub)
	if err != nil {
		return fmt.Errorf("cannot use TRANQUIL_HUB: %w", err)
	}
	client := iothub.NewClient(connection)
	screen := &screen{out: out, every: every}
	twin, err := client.Twin(ctx, device)
	if err != nil {
		return err
	}
	screen.show(read(twin.Properties.Reported), time.Now())
	for event, err := range client.Events(ctx, device, "") {
		if err != nil {
			return err
		}
		if twin, err = follow(ctx, client, twin, event); err != nil {
			return err
		}
		screen.show(read(twin.Properties.Reported), time.Now())
	}
	return nil
}

// follow brings the twin up to date with an event. It reads the twin afresh
// if it has missed one, as between the first reading and the first event.
func follow(ctx context.Context, client *iothub.Client, twin *iothub.Twin, event iothub.Event) (*iothub.Twin, error) {
	if event.Type != iothub.EventTwinChanged {
		return twin, nil
	}
	var change iothub.TwinChange
	if err := json.Unmarshal(event.Body, &change); err != nil {
		return nil, fmt.Errorf("cannot understand an event: %w", err)
	}
	switch {
	case change.Version <= twin.Version:
		return twin, nil
	case change.Version > twin.Version+1:
		return client.Twin(ctx, twin.DeviceID)
	}
	twin.Version = change.Version
	twin.Properties.Reported = merge(twin.Properties.Reported, change.Properties.Reported)
	return twin, nil
}

// merge applies a patch: objects merge, null deletes, all else replaces.
func merge(document, patch map[string]any) map[string]any {
	if document == nil {
		document = map[string]any{}
	}
	for name, value := range patch {
		inner, isObject := value.(map[string]any)
		switch {
		case value == nil:
			delete(document, name)
		case isObject:
			old, _ := document[name].(map[string]any)
			document[name] = merge(old, inner)
		default:
			document[name] = value
		}
	}
	return document
}
