// Command tranquil-agent keeps the components of a device up to date without
// losing their state. It is an LwM2M client and an update manager: README.md
// tells how to install and run it, internal/engine what an update is.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/link"
	"github.com/tranquil-iot/tranquil/agent/internal/logfile"
	"github.com/tranquil-iot/tranquil/agent/internal/self"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/updater"
	"github.com/tranquil-iot/tranquil/transforms/native"
)

// version is set when the agent is built.
var version = "0.0.0-dev"

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
	case errors.Is(err, errMistaken):
		fmt.Fprintln(os.Stderr, "tranquil-agent:", err)
		os.Exit(255)
	case err != nil:
		fmt.Fprintln(os.Stderr, "tranquil-agent:", err)
		os.Exit(1)
	}
}

// errMistaken says that the configuration of a device that has one cannot be used. Who asks
// before a start, such as systemd, must not take that for a device that has none.
var errMistaken = errors.New("it cannot be used")

func command(ctx context.Context, args []string, out io.Writer) error {
	o := &options{out: out, in: os.Stdin}
	words, err := o.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		words = []string{"help"}
	case err != nil:
		return fmt.Errorf("%w: %w", err, errUsage)
	case o.version:
		words = []string{"version"}
	case len(words) == 0:
		return fmt.Errorf("no command: %w", errUsage)
	}
	if do, known := about[words[0]]; known {
		return do(o, words[1:])
	}
	if do, known := unread[words[0]]; known {
		return do(o, ctx, words[1:])
	}
	do, known := commands[words[0]]
	if !known {
		return fmt.Errorf("unknown command %q: %w", words[0], errUsage)
	}
	o.config, err = readConfig(o.file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	if err != nil && words[0] == "config" && !errors.Is(err, errNoEndpoint) {
		return fmt.Errorf("%w: %w", errMistaken, err)
	}
	if err != nil {
		return err
	}
	return do(o, ctx, words[1:])
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
	losing    bool
	outside   bool
	lending   bool
	output    string
	log       string
	server    string
	files     string
	root      string
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
	flags.Func("o", "`format`, text or json", func(format string) error {
		if o.json = format == "json"; !o.json && format != "text" {
			return errors.New("there are text and json")
		}
		return nil
	})
	flags.StringVar(&o.log, "log", "", "run: `file` for the log")
	flags.StringVar(&o.server, "server", "", "enrol: `URL` of the LwM2M server")
	flags.StringVar(&o.files, "files", "", "enrol: `URL` of the file server")
	flags.StringVar(&o.root, "root", "", "enrol: `file` with the root that packages are trusted by")
	flags.BoolVar(&o.yes, "yes", false, "do not ask")
	flags.BoolVar(&o.keep, "keep", false, "repair: go on with the state that is there")
	flags.Func("restore", "repair: go on with this saved `generation`", func(word string) (err error) {
		o.restoring, err = generation(word)
		return err
	})
	flags.IntVar(&o.schema, "schema", 0, "import: of the state, if the archive does not say it")
	flags.BoolVar(&o.outside, "outside", false, "import: symbolic links may lead out of the state")
	flags.BoolVar(&o.lending, "privileged", false, "import: files may be setuid, setgid or have capabilities")
	flags.BoolVar(&o.losing, "may-lose-state", false, "rollback: also if the present state cannot be saved")
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

// recent are the last lines of the log, for tranquil-agent logs.
var recent = &logfile.Recent{Limit: 128 << 10}

// maxLog bounds the log on disk, in bytes.
const maxLog = 4 << 20

// logger is where the agent writes what happens.
func (o *options) logger() (*slog.Logger, error) {
	to := io.Writer(os.Stderr)
	if o.log != "" {
		file, err := logfile.Open(o.log, maxLog)
		if err != nil {
			return nil, err
		}
		to = file // until the process ends
	}
	to = io.MultiWriter(to, recent)
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level})), nil
}

// status asks the running agent and prints what it says.
func (o *options) status(ctx context.Context, words []string) error {
	if len(words) > 0 {
		return fmt.Errorf("status takes no %q: %w", words[0], errUsage)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	views, err := link.Status(ctx, o.config.control())
	if err != nil {
		return err
	}
	about, err := link.About(ctx, o.config.control())
	if err != nil {
		return err
	}
	if o.json {
		return o.printJSON(struct {
			Agent      link.Agent    `json:"agent"`
			Components []engine.View `json:"components"`
		}{about, views})
	}
	fmt.Fprintf(o.out, "%s, %s of %s%s; version %s of the agent\n", about.Endpoint, map[bool]string{true: "registered", false: "not registered"}[about.Registered], about.Server, since(about.Since), about.Version)
	if len(views) > 0 && views[0].Fault != "" {
		fmt.Fprintf(o.out, "SAFE MODE, no update starts: %s\nRepair with tranquil-agent repair.\n", views[0].Fault)
	}
	t := tabwriter.NewWriter(o.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "COMPONENT\tVERSION\tRUNNING\tUPDATE")
	for _, v := range views {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", v.Component, v.Installed.Version, running(v), oneLine(describe(v)))
	}
	return t.Flush()
}

// oneLine keeps a text in its column: what a component has printed is many lines.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// since tells when something began, if it has.
func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + moment(t)
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
