// Command tranquil-backend is the part of Tranquil that runs off the devices:
// the twin hub, the bridge to LwM2M devices, and the file server. README.md
// tells how to run it; each part is a package under internal and listens on
// sockets of its own, so that each can also run alone.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: tranquil-backend all|hub|files|bridge [--config FILE] [--data DIR] [-v]

  all      hub, files and bridge, on 127.0.0.1 unless configured otherwise
  hub      device twins: MQTT for devices, REST and events for applications
  files    packages: HTTP and CoAP
  bridge   LwM2M server, and one MQTT client per device to any IoT hub

When all that was asked for listens, DATA/endpoints.json has the addresses and
DATA/credentials.json the keys.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tranquil-backend:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	file := flags.String("config", "", "")
	data := flags.String("data", "", "")
	verbose := flags.Bool("v", false, "")
	_ = flags.Parse(args[1:]) // exits
	c, err := readConfig(*file, *data)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	b := &backend{config: c, log: log}
	defer b.close()
	switch args[0] {
	case "all":
		return b.run(ctx, b.startHub, b.startFiles, b.startBridge)
	case "hub":
		return b.run(ctx, b.startHub)
	case "files":
		return b.run(ctx, b.startFiles)
	case "bridge":
		return b.run(ctx, b.startBridge)
	}
	return fmt.Errorf("unknown command %q\n%s", args[0], usage)
}
