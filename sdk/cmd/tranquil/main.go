// Command tranquil is the tool of authors and operators: it builds, inspects,
// verifies and pushes update packages, tries state transforms, and asks the twin hub about devices and
// for updates.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/transforms/native"
)

// cli is the command line. One file per group of commands.
type cli struct {
	Package   packageCmd   `cmd:"" help:"Build, inspect, verify and push update packages."`
	Transform transformCmd `cmd:"" help:"Check, run and test state transforms."`
	Updater   updaterCmd   `cmd:"" help:"Make and test updaters."`
	Trust     trustCmd     `cmd:"" help:"Say who may sign for packages, and sign for them."`
	Login     loginCmd     `cmd:"" help:"Log in to a backend as yourself."`
	Logout    logoutCmd    `cmd:"" help:"End that."`
	Device    deviceCmd    `cmd:"" help:"Create, list, show and call devices."`
	Twin      twinCmd      `cmd:"" help:"Read and change the twin of a device."`
	Update    updateCmd    `cmd:"" aliases:"push" help:"Wish a version of a component onto a device."`
	Wish      wishCmd      `cmd:"" help:"List what is asked of a device, or take it back."`
	Consent   consentCmd   `cmd:"" help:"Let an update that waits begin, or refuse it."`
	Cancel    cancelCmd    `cmd:"" help:"Have an update turn back."`
	Window    windowCmd    `cmd:"" help:"Say when a component may be updated."`
	Repair    repairCmd    `cmd:"" help:"Have an agent leave safe mode."`
	Rollback  rollbackCmd  `cmd:"" help:"Go back to the version of a component before."`
	Remove    removeCmd    `cmd:"" help:"Take a component off a device."`
	History   historyCmd   `cmd:"" help:"List how the updates of a device have ended."`
	Events    eventsCmd    `cmd:"" help:"Follow what happens to devices."`
	Watch     watchCmd     `cmd:"" help:"Follow the updates of a device."`
	Schedule  scheduleCmd  `cmd:"" help:"Have a device look for newer versions of a component by itself."`
	Measured  readingsCmd  `cmd:"" name:"readings" help:"List what a device measures, what it is worth now, and who measures the same."`
	Access    tokenCmd     `cmd:"" name:"token" help:"Print a token for the twin hub, for curl and the like."`
	About     versionCmd   `cmd:"" name:"version" help:"Print the version of this tool."`

	Completion completionCmd `cmd:"" help:"Print what a shell reads to complete these commands."`
	Manual     manualCmd     `cmd:"" help:"Print the manual page, for man."`

	Hub   string `group:"For commands that ask a server:" env:"TRANQUIL_HUB" placeholder:"CONNECTION-STRING" help:"Connection string of the twin hub, in place of a login: the policy service suffices for twins and events, devices need iothubowner."`
	Files string `group:"For commands that ask a server:" env:"TRANQUIL_FILES" placeholder:"URL" help:"File server."`
	Token string `group:"For commands that ask a server:" env:"TRANQUIL_TOKEN" placeholder:"TOKEN" help:"Publisher token for the file server. Better in the environment: others can see arguments."`

	JSON    bool             `name:"json" help:"Print JSON, also as -o json. What follows something prints an object per line."`
	Version kong.VersionFlag `help:"Print the version of this tool."`
}

// version is set when the tool is built.
var version = "0.0.0-dev"

type versionCmd struct{}

func (versionCmd) Run(s *session) error {
	return s.tell(map[string]string{"version": version}, "tranquil %s\n", version)
}

// A session is what every command runs with.
type session struct {
	*cli
	ctx context.Context
	in  io.Reader
	out io.Writer // for people; with --json it goes nowhere but into said
	raw io.Writer // for programs
	err io.Writer // for warnings

	said   bytes.Buffer
	spoken bool // in JSON
}

func main() {
	host.Main(native.Table()) // a copy of this program may be the sandbox of a transform
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	s := &session{cli: &c, ctx: ctx, in: os.Stdin, out: legible{os.Stdout}, raw: legible{os.Stdout}, err: os.Stderr}
	parser := kong.Must(&c,
		kong.Name("tranquil"),
		kong.Description("Updates of IoT devices that lose no state."),
		kong.Bind(s),
		kong.Vars{"version": "tranquil " + version},
	)
	args := withJSON(os.Args[1:])
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if err != nil && strings.HasPrefix(err.Error(), "unknown flag -o") {
		err = errors.New("-o is followed by json here: there is no other format than that, and the one for people")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "tranquil: %v\nTry tranquil --help.\n", err)
		return 2
	}
	if c.JSON {
		s.out = &s.said
	}
	if err = command.Run(); err == nil || s.said.Len() > 0 {
		err = errors.Join(err, s.sayRest())
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 0 // interrupted by the user
	}
	if err != nil {
		fmt.Fprintf(legible{os.Stderr}, "tranquil: %v\n", err)
		if iothub.IsNotFound(err) {
			fmt.Fprintln(os.Stderr, "tranquil device list shows the devices that there are, tranquil device create registers one.")
		}
		return 1
	}
	return 0
}

// withJSON has -o json mean --json everywhere, also where -o names a file: one of that name is ./json.
func withJSON(args []string) []string {
	var all []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--":
			return append(all, args[i:]...)
		case args[i] == "-o" && i+1 < len(args) && args[i+1] == "json":
			all = append(all, "--json")
			i++
		case args[i] == "-o=json" || args[i] == "-ojson":
			all = append(all, "--json")
		default:
			all = append(all, args[i])
		}
	}
	return all
}

// printJSON writes v for people and programs alike.
func (s *session) printJSON(v any) error {
	s.spoken = true
	enc := json.NewEncoder(s.raw)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// line writes v as one of several.
func (s *session) line(v any) error {
	s.spoken = true
	return json.NewEncoder(s.raw).Encode(v)
}

// tell writes what was done: with --json v, else words.
func (s *session) tell(v any, format string, args ...any) error {
	if s.JSON {
		return s.printJSON(v)
	}
	_, err := fmt.Fprintf(s.out, format, args...)
	return err
}

// sayRest is for commands that have only words: with --json these become an object.
func (s *session) sayRest() error {
	if !s.JSON || s.spoken {
		return nil
	}
	lines := strings.FieldsFunc(s.said.String(), func(c rune) bool { return c == '\n' })
	return s.printJSON(map[string][]string{"done": lines})
}

// An asking is what was written into the wishes for a component.
type asking struct {
	Device    string `json:"device"`
	Component string `json:"component"`
	Wish      any    `json:"wish"` // a merge patch; null takes it back
}

// asked tells programs what was wished for; people are told in words.
func (s *session) asked(device, component string, wish any) error {
	if !s.JSON {
		return nil
	}
	return s.line(asking{device, component, wish})
}
