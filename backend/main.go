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

	_ "golang.org/x/crypto/x509roots/fallback" // its image has no certificates

	"github.com/tranquil-iot/tranquil/sdk/manual"
)

// version is set when the backend is built.
var version = "0.0.0-dev"

// described tells people what it can do.
var described = manual.Program{
	Name: "tranquil-backend", Section: 8, Summary: "twin hub, LwM2M bridge and file server for devices that Tranquil updates",
	Synopsis: "COMMAND [--config FILE] [--data DIR] [-v]",
	Commands: []manual.Command{
		{Forms: []string{"all"}, Help: "hub, files and bridge, on 127.0.0.1 unless configured otherwise"},
		{Forms: []string{"hub"}, Help: "device twins: MQTT for devices, REST and events for applications; and the operator's pages and API, at https://127.0.0.1:9443"},
		{Forms: []string{"files"}, Help: "packages: HTTP and CoAP"},
		{Forms: []string{"bridge"}, Help: "LwM2M server, and one MQTT client per device to any IoT hub"},
		{Forms: []string{"password"}, Help: "a new one for the user admin, into DATA/admin.password, while the backend is stopped"},
		{Forms: []string{"completion bash|zsh|fish"}, Help: "what a shell reads to complete these commands"},
		{Forms: []string{"manual"}, Help: "the manual page, for man"},
		{Forms: []string{"version"}, Help: "of this program, as --version"},
		{Forms: []string{"help"}, Help: "this text"},
	},
	Flags: []manual.Entry{
		{Name: "--config FILE", Help: "the configuration (TOML); without one everything listens on this machine only"},
		{Name: "--data DIR", Help: "for all that must survive, in place of what the configuration says, or of ./tranquil-data"},
		{Name: "-v", Help: "log details"},
	},
	Text: "When all that was asked for listens, DATA/endpoints.json has the addresses and DATA/credentials.json the keys.",
	Files: []manual.Entry{
		{Name: "/etc/tranquil/backend.toml", Help: "the configuration of the service"},
		{Name: "/var/lib/tranquil-backend", Help: "its data"},
	},
}

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
	case errors.Is(err, flag.ErrHelp):
		words = []string{"help"}
	case err != nil:
		return fmt.Errorf("%w: %w", err, errUsage)
	case *about:
		words = []string{"version"}
	case len(words) == 0:
		return fmt.Errorf("want one command: %w", errUsage)
	}
	if told, err := tell(words); told != "" || err != nil {
		return errors.Join(err, write(out, told))
	}
	switch {
	case len(words) != 1:
		return fmt.Errorf("want one command: %w", errUsage)
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

// tell answers the commands that are about the program.
func tell(words []string) (string, error) {
	switch {
	case words[0] == "help":
		return described.Usage(), nil
	case words[0] == "version":
		return "tranquil-backend " + version + "\n", nil
	case words[0] == "manual":
		return described.Page(version), nil
	case words[0] == "completion" && len(words) == 2:
		return described.Completion(words[1])
	}
	return "", nil
}

func write(out io.Writer, text string) error {
	_, err := io.WriteString(out, text)
	return err
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
