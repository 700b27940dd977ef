// Command tranquil-agent keeps the components of a device up to date without
// losing their state. It is an LwM2M client and an update manager: README.md
// tells how to install and run it, internal/engine what an update is.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/link"
	"github.com/tranquil-iot/tranquil/agent/internal/self"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/updater"
	"github.com/tranquil-iot/tranquil/transforms/native"
)

// version is set when the agent is built.
var version = "0.0.0-dev"

// defaultConfig is where the configuration is looked for.
const defaultConfig = "/etc/tranquil/agent.toml"

const usage = `usage: tranquil-agent <command> [--config FILE] [-v]

  run                work, until a signal ends it
  launch             the same, as the version of the agent that is to run: the one
                     that an update has put in place, or the one before if the new
                     one does not prove itself
  status [--json]    what the running agent says of its components
  components [COMPONENT] [--json]
                     when each may be updated: window, consent, checks for newer
                     versions, and what its dependants may want
  consent COMPONENT  let the update that is in progress begin
  refuse COMPONENT   end it before it begins
  cancel COMPONENT   have it turn back, as long as it can
  repair             leave safe mode: set aside what cannot be read, ask the
                     updaters what is installed, go on
  repair COMPONENT --keep | --restore GENERATION [--yes]
                     have a component that stays stopped, or has ended
                     inconsistent, go on with the state that it has, or a saved one
  state list COMPONENT [--json]
  state show COMPONENT GENERATION [--json]
  state export COMPONENT GENERATION [--output FILE]
  state restore COMPONENT GENERATION [--yes]
  state import COMPONENT FILE [--schema N] [--outside] [--privileged]
                     the states that updates have saved: which, what is in one
                     (every file is read and checked), one as a tar archive; or
                     have the component continue on one, by an update. An archive
                     becomes a saved state again
  sideload FILE|DIR [--yes]
                     install the package that is there, as on a USB stick, if the
                     metadata in the folder trust beside it, or what is known
                     already, vouches for it
  rollback COMPONENT [--yes]
                     go back to the version before the installed one
  version, --version of this program
  help               this text

The configuration is read from ` + defaultConfig + `, unless --config names another file.
`

// errUsage is an error that the usage explains.
var errUsage = errors.New("try tranquil-agent help")

func main() {
	host.Main(native.Table()) // a copy of this program may be the sandbox of a transform,
	if updater.Launched() {   // or what updates the agent itself
		updater.Main(self.Type, self.Open)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := command(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "tranquil-agent: %s\nTry tranquil-agent help.\n", strings.TrimSuffix(err.Error(), ": "+errUsage.Error()))
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "tranquil-agent:", err)
		os.Exit(1)
	}
}

// commands are all of them, by the first word.
var commands = []string{"run", "launch", "status", "components", link.Consent, link.Refuse, link.Cancel, "repair", "state", "sideload", "rollback"}

func command(ctx context.Context, args []string, out io.Writer) error {
	o := &options{out: out, in: os.Stdin}
	words, err := o.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp) || err == nil && len(words) > 0 && words[0] == "help":
		_, err := fmt.Fprint(out, usage)
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", err, errUsage)
	case len(words) == 0 && !o.version:
		return fmt.Errorf("no command: %w", errUsage)
	case o.version || words[0] == "version":
		_, err := fmt.Fprintln(out, "tranquil-agent", version)
		return err
	case !slices.Contains(commands, words[0]):
		return fmt.Errorf("unknown command %q: %w", words[0], errUsage)
	}
	c, err := readConfig(o.file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	if err != nil {
		return err
	}
	o.config = c
	switch words[0] {
	case "run":
		return o.run(ctx)
	case "launch":
		return o.launch()
	case "status":
		return status(ctx, c, o.json, out)
	case "components":
		return o.components(ctx, words[1:])
	case "repair":
		return o.repair(ctx, words[1:])
	case link.Consent, link.Refuse, link.Cancel:
		return o.answer(ctx, words[0], words[1:])
	case "state":
		return o.state(ctx, words[1:])
	case "sideload":
		return o.sideload(ctx, words[1:])
	}
	return o.rollback(ctx, words[1:])
}

// options are what can be said to a command.
type options struct {
	config    config
	file      string
	json      bool
	yes       bool
	keep      bool
	restoring uint64 // 0: none
	schema    int    // 0: not said
	outside   bool
	lending   bool
	output    string
	verbose   bool
	version   bool
	in        io.Reader
	out       io.Writer
}

// parse reads flags wherever they stand, and returns the other words, of which
// the first is a command.
func (o *options) parse(args []string) (words []string, err error) {
	flags := flag.NewFlagSet("tranquil-agent", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main tells the error
	flags.StringVar(&o.file, "config", defaultConfig, "configuration `file`")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	flags.BoolVar(&o.yes, "yes", false, "do not ask")
	flags.BoolVar(&o.keep, "keep", false, "repair: go on with the state that is there")
	flags.Func("restore", "repair: go on with this saved `generation`", func(word string) (err error) {
		o.restoring, err = generation(word)
		return err
	})
	flags.IntVar(&o.schema, "schema", 0, "import: of the state, if the archive does not say it")
	flags.BoolVar(&o.outside, "outside", false, "import: symbolic links may lead out of the state")
	flags.BoolVar(&o.lending, "privileged", false, "import: files may be setuid, setgid or have capabilities")
	flags.StringVar(&o.output, "output", "-", "`file`, or - for standard output")
	flags.BoolVar(&o.verbose, "v", false, "log details")
	flags.BoolVar(&o.version, "version", false, "print the version of this program")
	for {
		if err := flags.Parse(args); err != nil || flags.NArg() == 0 {
			return words, err
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
}

func logger(verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// status asks the running agent and prints what it says.
func status(ctx context.Context, c config, asJSON bool, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	views, err := link.Status(ctx, c.control())
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(views)
	}
	if len(views) > 0 && views[0].Fault != "" {
		fmt.Fprintf(out, "SAFE MODE, no update starts: %s\nRepair with tranquil-agent repair.\n", views[0].Fault)
	}
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "COMPONENT\tVERSION\tRUNNING\tUPDATE")
	for _, v := range views {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", v.Component, v.Installed.Version, running(v), describe(v))
	}
	return t.Flush()
}

// running tells whether a component runs, and if not, whether it should.
func running(v engine.View) string {
	if v.Inactive {
		return "deactivated"
	}
	return fmt.Sprint(v.Running)
}

// describe tells in a few words where the update of a component is.
func describe(v engine.View) string {
	switch {
	case v.Progress != nil && v.Progress.Waiting != nil:
		return fmt.Sprintf("to %s: %s, %s, waits for %s", cmp.Or(v.Progress.To, "nothing"), v.Progress.Phase, v.Progress.Step, v.Progress.Waiting.For)
	case v.Progress != nil:
		return fmt.Sprintf("to %s: %s, %s, %.0f %%", cmp.Or(v.Progress.To, "nothing"), v.Progress.Phase, v.Progress.Step, 100*v.Progress.Fraction)
	case v.Outcome == nil:
		return "none yet"
	}
	return result(v.Outcome)
}

// result tells how an update has ended.
func result(o *engine.Outcome) string {
	if o.Cause != "" {
		return fmt.Sprintf("%s: %s (%s)", way(o), o.Result, o.Cause) + warnings(o)
	}
	if o.Result == engine.Removed {
		return "to nothing: removed"
	}
	line := fmt.Sprintf("%s: %s, downtime %s", way(o), o.Result, o.Downtime.Round(time.Millisecond))
	if o.Predicted > 0 {
		line += fmt.Sprintf(" (predicted %s)", o.Predicted.Round(time.Millisecond))
	}
	if o.Forced {
		line += ", " + o.Rest
	}
	return line + warnings(o)
}

// way is what was done: "to 2.0.0", "rollback to 1.0.0", "restore of 2.0.0".
func way(o *engine.Outcome) string {
	to := cmp.Or(o.To, "nothing")
	switch o.Kind {
	case "", engine.KindUpdate:
		return "to " + to
	case engine.KindRestore, engine.KindRepair:
		return o.Kind + " of " + to
	}
	return o.Kind + " to " + to
}

func warnings(o *engine.Outcome) string {
	if len(o.Warnings) == 0 {
		return ""
	}
	return "; WARNING: " + strings.Join(o.Warnings, "; ")
}

// first returns the error that ended the work, if it was not the signal.
func first(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}
