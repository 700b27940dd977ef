// Command tranquil-backend is the part of Tranquil that runs off the devices:
// the twin hub, the bridge to LwM2M devices, and the file server. README.md
// tells how to run it; each part is a package under internal and listens on
// sockets of its own, so that each can also run alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// version is set when the backend is built.
var version = "0.0.0-dev"

const usage = `usage: tranquil-backend all|hub|files|bridge|password [--config FILE] [--data DIR] [-v]

  all      hub, files and bridge, on 127.0.0.1 unless configured otherwise
  hub      device twins: MQTT for devices, REST and events for applications;
           and the operator's pages and API, at https://127.0.0.1:9443
  files    packages: HTTP and CoAP
  bridge   LwM2M server, and one MQTT client per device to any IoT hub
  password of the user admin: a new one, into DATA/admin.password, while the
           backend is stopped
  version  of this program, as --version
  help     this text

Without --config everything listens on this machine only; without --data what
must survive is in ./tranquil-data.

When all that was asked for listens, DATA/endpoints.json has the addresses and
DATA/credentials.json the keys.
`

// errUsage is an error that the usage explains.
var errUsage = errors.New("try tranquil-backend help")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := command(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "tranquil-backend: %s\nTry tranquil-backend help.\n", strings.TrimSuffix(err.Error(), ": "+errUsage.Error()))
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "tranquil-backend:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("tranquil-backend", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main tells the error
	file := flags.String("config", "", "")
	data := flags.String("data", "", "")
	verbose := flags.Bool("v", false, "")
	about := flags.Bool("version", false, "")
	words, err := parse(flags, args)
	b := &backend{}
	parts := map[string][]func(context.Context) (part, error){
		"all": {b.startHub, b.startFiles, b.startWeb, b.startBridge}, "hub": {b.startHub, b.startWeb}, "files": {b.startFiles}, "bridge": {b.startBridge},
	}
	switch {
	case errors.Is(err, flag.ErrHelp) || err == nil && len(words) == 1 && words[0] == "help":
		_, err := fmt.Fprint(out, usage)
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", err, errUsage)
	case len(words) != 1 && !*about:
		return fmt.Errorf("want one command: %w", errUsage)
	case *about || words[0] == "version":
		_, err := fmt.Fprintln(out, "tranquil-backend", version)
		return err
	case parts[words[0]] == nil && words[0] != "password":
		return fmt.Errorf("unknown command %q: %w", words[0], errUsage)
	}
	c, err := readConfig(*file, *data)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	b.config, b.log = c, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	defer b.close()
	if words[0] == "password" {
		return b.renewPassword(ctx)
	}
	return b.run(ctx, parts[words[0]]...)
}

// parse reads flags wherever they stand, and returns the other words.
func parse(flags *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := flags.Parse(args); err != nil || flags.NArg() == 0 {
			return words, err
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
}
