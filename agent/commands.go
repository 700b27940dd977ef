package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/agent/internal/link"
	"github.com/tranquil-iot/tranquil/sdk/manual"
)

// defaultConfig is where the configuration is looked for.
const defaultConfig = "/etc/tranquil/agent.toml"

// commands are what can be said to the agent, by the first word.
var commands = map[string]func(*options, context.Context, []string) error{
	"run":        (*options).run,
	"launch":     (*options).launch,
	"status":     (*options).status,
	"components": (*options).components,
	link.Consent: answer(link.Consent),
	link.Refuse:  answer(link.Refuse),
	link.Cancel:  answer(link.Cancel),
	"repair":     (*options).repair,
	"state":      (*options).state,
	"sideload":   (*options).sideload,
	"rollback":   (*options).rollback,
	"config":     (*options).showConfig,
	"history":    (*options).history,
	"logs":       (*options).logs,
	"metrics":    (*options).metrics,
}

// unread are those that have to work if the configuration cannot be read, and read it
// themselves.
var unread = map[string]func(*options, context.Context, []string) error{
	"enrol":          (*options).enrol,
	"doctor":         func(o *options, ctx context.Context, _ []string) error { return o.doctor(ctx) },
	"support-bundle": (*options).supportBundle,
}

// about are those that are about the program, and need no configuration.
var about = map[string]func(*options, []string) error{
	"completion": (*options).completion,
	"manual":     (*options).manual,
	"version": func(o *options, _ []string) error {
		_, err := fmt.Fprintln(o.out, "tranquil-agent", version)
		return err
	},
	"help": func(o *options, _ []string) error {
		_, err := fmt.Fprint(o.out, described.Usage())
		return err
	},
}

func answer(what string) func(*options, context.Context, []string) error {
	return func(o *options, ctx context.Context, words []string) error { return o.answer(ctx, what, words) }
}

// described tells people of all of them.
var described = manual.Program{
	Name: "tranquil-agent", Section: 8, Summary: "keeps the components of a device up to date", Synopsis: "COMMAND [--config FILE] [-v]",
	Commands: []manual.Command{
		{Forms: []string{"run [--log FILE]"}, Help: "work, until a signal ends it; the log goes to standard error, or to a file of at most 4 MiB and FILE.1"},
		{Forms: []string{"launch [--log FILE]"}, Help: "the same, as the version of the agent that is to run: the one that an update has put in place, or the one before if the new one does not prove itself"},
		{Forms: []string{"enrol INVITATION [--root FILE]", "enrol CONNECTION-STRING [--server URL] [--files URL] [--root FILE]"}, Help: "make this device one of a backend's, for the first time or anew: by the address that its operator is given, or by the device's connection string and the addresses of the servers, if they are not those of the hub on ports 5684 and 5685. FILE is the root that packages are trusted by, in place of the one that the backend has. All that the device has stays"},
		{Forms: []string{"status [-o json]"}, Help: "what the running agent says of its components"},
		{Forms: []string{"components [COMPONENT] [-o json]"}, Help: "when each may be updated: window, consent, checks for newer versions, and what its dependants may want"},
		{Forms: []string{"history [COMPONENT] [-o json]"}, Help: "how the updates of this device have ended, the newest first"},
		{Forms: []string{"logs [-o json]"}, Help: "the last lines of the agent's log, since it was started"},
		{Forms: []string{"doctor [-o json]"}, Help: "look for what is usually wrong, and say what helps: configuration, clock, keys, trust, room, updaters, routes, the agent and its components. It exits with 1 if something is broken"},
		{Forms: []string{"metrics"}, Help: "numbers of agent and components, as Prometheus reads them"},
		{Forms: []string{"support-bundle [--output FILE]"}, Help: "all of that, with the configuration and how the device is set up, in one file for whoever helps; there are no keys in it"},
		{Forms: []string{"consent COMPONENT"}, Help: "let the update that is in progress begin"},
		{Forms: []string{"refuse COMPONENT"}, Help: "end it before it begins"},
		{Forms: []string{"cancel COMPONENT"}, Help: "have it turn back, as long as it can"},
		{Forms: []string{"repair"}, Help: "leave safe mode: set aside what cannot be read, ask the updaters what is installed, go on"},
		{Forms: []string{"repair COMPONENT --keep | --restore GENERATION [--yes]"}, Help: "have a component that stays stopped, or has ended inconsistent, go on with the state that it has, or a saved one"},
		{Forms: []string{
			"state list COMPONENT [-o json]", "state show COMPONENT GENERATION [-o json]", "state export COMPONENT GENERATION [--output FILE]",
			"state restore COMPONENT GENERATION [--yes]", "state import COMPONENT FILE [--schema N] [--outside] [--privileged]",
		}, Help: "the states that updates have saved: which, what is in one (every file is read and checked), one as a tar archive; or have the component continue on one, by an update. An archive becomes a saved state again"},
		{Forms: []string{"sideload FILE|DIR [--yes]"}, Help: "install the package that is there, as on a USB stick, if the metadata in the folder trust beside it, or what is known already, vouches for it"},
		{Forms: []string{"rollback COMPONENT [--may-lose-state] [--yes]"}, Help: "go back to the version before the installed one; --may-lose-state: also if that crashes, or hands over no state, so that its last state cannot be saved"},
		{Forms: []string{"config"}, Help: "read the configuration and say what is wrong with it, or which files it is in"},
		{Forms: []string{"completion bash|zsh|fish"}, Help: "what a shell reads to complete these commands"},
		{Forms: []string{"manual"}, Help: "the manual page, for man"},
		{Forms: []string{"version"}, Help: "of this program, as --version"},
		{Forms: []string{"help"}, Help: "this text"},
	},
	Flags: []manual.Entry{
		{Name: "--config FILE", Help: "the configuration, in place of " + defaultConfig},
		{Name: "-v", Help: "log details"},
	},
	Text: "The configuration is read from " + defaultConfig + ", unless --config names another file, and then from the files *.toml in the folder config.d beside it, in the order of their names: " +
		"what a later one says wins. The type of a COMPONENT may be left out where its name is enough.",
	Files: []manual.Entry{
		{Name: defaultConfig, Help: "the configuration, with every option and its default"},
		{Name: "/etc/tranquil/config.d/*.toml", Help: "what this device has otherwise"},
		{Name: "/var/lib/tranquil", Help: "all that must survive: the journal, packages, saved states, the components"},
		{Name: "/run/tranquil", Help: "sockets"},
		{Name: "/usr/lib/tranquil", Help: "the updaters"},
	},
}

// manual writes the manual page.
func (o *options) manual([]string) error {
	_, err := fmt.Fprint(o.out, described.Page(version))
	return err
}

// completion writes what a shell completes.
func (o *options) completion(words []string) error {
	text, err := described.Completion(cmp.Or(slices.Concat(words, []string{""})[0], "no shell"))
	if err != nil {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	_, err = fmt.Fprint(o.out, text)
	return err
}

// showConfig says what the configuration, which can be used, is.
func (o *options) showConfig(context.Context, []string) error {
	c := o.config
	_, err := fmt.Fprintf(o.out, "%s is %s, with %s\n", strings.Join(configFiles(o.file), ", "), c.Endpoint, cmp.Or(strings.Join(c.Components, ", "), "no components"))
	return err
}
