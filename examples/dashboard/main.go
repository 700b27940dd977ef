// Command dashboard is a back-end application as a third party would write
// it: it knows the twin and its events, and nothing else of Tranquil. It
// prints the readings of one device, and says when they are live, stale or
// offline, and until when.
//
//	dashboard -device device-1        # connection string in TRANQUIL_HUB
package main

import (
	"context"
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
	for twin, err := range client.Follow(ctx, device) {
		if err != nil {
			return err
		}
		screen.show(read(twin.Properties.Reported), time.Now())
	}
	return nil
}
