package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/link"
	"github.com/tranquil-iot/tranquil/agent/internal/state"
)

// state does one of the state commands.
func (o *options) state(ctx context.Context, words []string) error {
	wants := map[string]int{"list": 2, "show": 3, "export": 3, "restore": 3, "import": 3}
	if len(words) == 0 || wants[words[0]] != len(words) {
		return fmt.Errorf("want state list COMPONENT, state show|export|restore COMPONENT GENERATION, or state import COMPONENT FILE: %w", errUsage)
	}
	v, err := o.view(ctx, words[1])
	if err != nil {
		return err
	}
	component := v.Component
	switch words[0] {
	case "list":
		return o.list(ctx, component)
	case "import":
		return o.importState(ctx, component, words[2])
	}
	gen, err := generation(words[2])
	if err != nil {
		return fmt.Errorf("%w: tranquil-agent state list %s shows them", err, component)
	}
	switch words[0] {
	case "show":
		return o.show(ctx, component, gen)
	case "export":
		return o.export(ctx, component, gen)
	}
	return o.restore(ctx, component, gen)
}

// generation reads a number as the list shows it.
func generation(word string) (uint64, error) {
	gen, err := strconv.ParseUint(word, 10, 64)
	if err != nil || gen == 0 {
		return 0, fmt.Errorf("%q is no generation, which is a number from 1", word)
	}
	if strings.HasPrefix(word, "0") {
		return 0, fmt.Errorf("%q is no generation, whose number begins with no 0 (%d?)", word, gen)
	}
	return gen, nil
}

func (o *options) list(ctx context.Context, component string) error {
	var entries []state.Entry
	if err := link.ListStates(ctx, o.config.control(), component, &entries); err != nil {
		return err
	}
	if o.json {
		return o.printJSON(entries)
	}
	t := tabwriter.NewWriter(o.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "GENERATION\tSCHEMA\tVERSION\tFILES\tBYTES\tTIME\tKEPT")
	for _, e := range entries {
		why := e.Why
		if e.Leaves != "" {
			why = "no: " + e.Leaves
		}
		if e.Damaged {
			why = "DAMAGED, cannot be restored; " + why
		}
		fmt.Fprintf(t, "%d\t%d\t%s\t%d\t%d\t%s\t%s\n", e.Generation, e.Schema, e.Version, e.Files, e.Size, moment(e.Time), why)
	}
	return t.Flush()
}

func (o *options) show(ctx context.Context, component string, gen uint64) error {
	var c state.Contents
	if err := link.ShowState(ctx, o.config.control(), component, gen, &c); err != nil {
		return err
	}
	if o.json {
		if err := o.printJSON(c); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(o.out, "generation %d of %s\nversion %s, schema %d, package %s\nsaved %s, state %s\n", gen, component,
			c.Version, c.Schema, c.Package, moment(c.Time), c.Digest)
		t := tabwriter.NewWriter(o.out, 0, 4, 2, ' ', 0)
		for _, f := range c.All {
			if f.Target != "" {
				f.Path += " → " + f.Target
			}
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", f.Mode, f.Size, f.Path, f.Digest)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if c.Damaged {
		return fmt.Errorf("generation %d is damaged: its files are not those that were saved", gen)
	}
	return nil
}

// export writes a file in whole or not at all.
func (o *options) export(ctx context.Context, component string, gen uint64) (err error) {
	if o.output == "-" {
		return link.ExportState(ctx, o.config.control(), component, gen, o.out)
	}
	half := o.output + ".part"
	f, err := os.OpenFile(half, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(half)
	err = link.ExportState(ctx, o.config.control(), component, gen, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(half, o.output)
}

// importState makes a saved state of a file that export has written.
func (o *options) importState(ctx context.Context, component, file string) error {
	archive := o.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		archive = f
	}
	gen, err := link.ImportState(ctx, o.config.control(), component, archive, o.schema, o.outside, o.lending)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.out, "It is generation %d; to go on with it: tranquil-agent state restore %s %[1]d\n", gen, component)
	return err
}

func (o *options) restore(ctx context.Context, component string, gen uint64) error {
	var entries []state.Entry
	if err := link.ListStates(ctx, o.config.control(), component, &entries); err != nil {
		return err
	}
	for _, e := range entries {
		if uint64(e.Generation) == gen {
			fmt.Fprintf(o.out, "%s stops, and continues on the state that version %s had at %s.\nIt loses whatever it has stored since; its present state is saved.\n",
				component, e.Version, moment(e.Time))
		}
	}
	fmt.Fprint(o.out, leaving(entries, state.Generation(gen)))
	if limit := o.config.State.KeepSpace; limit > 0 {
		fmt.Fprintf(o.out, "If all together are more than %d bytes then (keep_space), the oldest are removed as well.\n", limit)
	}
	if !o.confirmed() {
		return errors.New("not confirmed, nothing was done")
	}
	id, err := link.RestoreState(ctx, o.config.control(), component, gen)
	if err != nil {
		return err
	}
	if err := o.follow(ctx, component, id); err != nil {
		return err
	}
	return o.restored(ctx, component, gen, entries)
}

// restored says what the component goes on with, and what it went on with
// before, which is not among the states that were saved then.
func (o *options) restored(ctx context.Context, component string, gen uint64, before []state.Entry) error {
	var entries []state.Entry
	if err := link.ListStates(ctx, o.config.control(), component, &entries); err != nil {
		return err
	}
	line := fmt.Sprintf("%s goes on with generation %d", component, gen)
	for _, e := range entries {
		known := slices.ContainsFunc(before, func(b state.Entry) bool { return b.Generation == e.Generation })
		if !known {
			line += fmt.Sprintf("; the state that it had is generation %d", e.Generation)
			break
		}
	}
	_, err := fmt.Fprintln(o.out, line)
	return err
}

// leaving says which generations retention removes when gen is restored. That
// one and what is saved now are extra, so no other loses its place to them.
func leaving(entries []state.Entry, gen state.Generation) (text string) {
	for _, e := range entries {
		if e.Leaves != "" && e.Generation != gen {
			text += fmt.Sprintf("Generation %d is removed: %s.\n", e.Generation, e.Leaves)
		}
	}
	return text
}

func (o *options) rollback(ctx context.Context, words []string) error {
	if len(words) != 1 {
		return fmt.Errorf("want rollback COMPONENT: %w", errUsage)
	}
	v, err := o.view(ctx, words[0])
	if err != nil {
		return err
	}
	switch {
	case v.Previous == nil && v.Fault != "":
		return fmt.Errorf("the agent is in safe mode: repair it first (tranquil-agent repair): %s", v.Fault)
	case v.Previous == nil:
		return fmt.Errorf("there is no version of %s from before %s", v.Component, v.Installed.Version)
	case v.Previous.State == "":
		return fmt.Errorf("there is no way back to version %s: %s", v.Previous.Version, v.Previous.Note())
	}
	o.explain(v)
	if o.losing {
		fmt.Fprintf(o.out, "If the present state cannot be saved, it is lost.\n")
	}
	if !o.confirmed() {
		return errors.New("not confirmed, nothing was done")
	}
	id, err := link.GoBack(ctx, o.config.control(), v.Component, o.losing)
	if err != nil {
		return err
	}
	return o.follow(ctx, v.Component, id)
}

// repair ends safe mode, or has one component go on as its operator decides.
func (o *options) repair(ctx context.Context, words []string) error {
	chosen := o.keep != (o.restoring != 0)
	switch {
	case len(words) == 0 && !o.keep && o.restoring == 0:
		return o.leaveSafeMode(ctx)
	case len(words) != 1 || !chosen:
		return fmt.Errorf("want repair, or repair COMPONENT with --keep or --restore GENERATION: %w", errUsage)
	}
	v, err := o.view(ctx, words[0])
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Fprintf(o.out, "%s goes on with the state that it has, whatever version that is of.\n", v.Component)
	} else {
		fmt.Fprintf(o.out, "%s stops, and goes on with generation %d; what it has now is saved, if it is known of which version it is.\n", v.Component, o.restoring)
	}
	if !o.confirmed() {
		return errors.New("not confirmed, nothing was done")
	}
	id, err := link.Mend(ctx, o.config.control(), v.Component, engine.Choice{Restore: state.Generation(o.restoring)})
	if err != nil {
		return err
	}
	return o.follow(ctx, v.Component, id)
}

func (o *options) leaveSafeMode(ctx context.Context) error {
	views, err := link.Status(ctx, o.config.control())
	if err != nil {
		return err
	}
	if len(views) > 0 && views[0].Fault == "" {
		fmt.Fprintln(o.out, "The agent is not in safe mode: there is nothing to repair.")
		return nil
	}
	if err := link.Repair(ctx, o.config.control()); err != nil {
		return err
	}
	fmt.Fprintln(o.out, "The agent leaves safe mode; what it has found is in tranquil-agent status.")
	return nil
}

// explain says what going back means, before it happens.
func (o *options) explain(v engine.View) {
	p := v.Previous
	by := ", which has no state"
	if p.Way != engine.WayStateless {
		by = " by its " + p.Way
	}
	fmt.Fprintf(o.out, "%s goes back from version %s to %s%s: it %s\n", v.Component, v.Installed.Version, p.Version, by, p.Note())
	if !p.SavedAt.IsZero() {
		fmt.Fprintf(o.out, "the last state of version %s was saved at %s\n", p.Version, moment(p.SavedAt))
	}
}

// moment writes a time for people: by RFC 3339, in the zone of the device.
func moment(t time.Time) string { return t.Local().Format(time.RFC3339) }

func (o *options) confirmed() bool {
	if o.yes {
		return true
	}
	fmt.Fprint(o.out, "Go on? [y/N] ")
	answer, _ := bufio.NewReader(o.in).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(answer), "y")
}

// components prints when each component may be updated, or the one that is named.
func (o *options) components(ctx context.Context, words []string) error {
	if len(words) > 1 {
		return fmt.Errorf("want components [COMPONENT]: %w", errUsage)
	}
	views, err := link.Status(ctx, o.config.control())
	if err != nil {
		return err
	}
	if len(words) == 1 {
		v, err := named(views, words[0])
		if err != nil {
			return err
		}
		views = []engine.View{v}
	}
	if o.json {
		return o.printJSON(views)
	}
	t := tabwriter.NewWriter(o.out, 0, 4, 2, ' ', 0)
	for _, v := range views {
		fmt.Fprintf(t, "%s\t%s\n", v.Component, cmp.Or(v.Installed.Version, "not installed"))
		for _, line := range admission(v) {
			fmt.Fprintf(t, "\t%s\t%s\n", line[0], line[1])
		}
	}
	return t.Flush()
}

// admission is when a component may be updated, as name and text.
func admission(v engine.View) (lines [][2]string) {
	window, consent := cmp.Or(v.Terms.Window, "any time"), "not needed"
	if !v.Opens.IsZero() {
		window += ", opens " + moment(v.Opens)
	}
	switch {
	case v.Asks:
		consent = "needed, as this device is configured"
	case v.Terms.Consent == engine.ConsentAsk:
		consent = "needed, as the back end says"
	}
	lines = [][2]string{{"window", window}, {"consent", consent}, {"checks", cmp.Or(v.Schedule, "none")}}
	if len(v.Dependants) == 0 {
		return append(lines, [2]string{"dependants", "none"})
	}
	for _, name := range slices.Sorted(maps.Keys(v.Dependants)) {
		lines = append(lines, [2]string{"dependant", name + ": " + v.Dependants[name]})
	}
	return lines
}

// view asks the agent for one component.
func (o *options) view(ctx context.Context, component string) (engine.View, error) {
	views, err := link.Status(ctx, o.config.control())
	if err != nil {
		return engine.View{}, err
	}
	return named(views, component)
}

// named finds a component; its type may be left out where that is enough.
func named(views []engine.View, name string) (engine.View, error) {
	var all []string
	var alike []engine.View
	for _, v := range views {
		_, short, _ := strings.Cut(v.Component, "/")
		switch name {
		case v.Component:
			return v, nil
		case short:
			alike = append(alike, v)
		}
		all = append(all, v.Component)
	}
	if len(alike) == 1 {
		return alike[0], nil
	}
	return engine.View{}, fmt.Errorf("this device has no component %s; it has %s", name, strings.Join(all, ", "))
}

// answer says something to the update of a component.
func (o *options) answer(ctx context.Context, what string, words []string) error {
	if len(words) != 1 {
		return fmt.Errorf("want %s COMPONENT: %w", what, errUsage)
	}
	v, err := o.view(ctx, words[0])
	if err != nil {
		return err
	}
	return link.Answer(ctx, o.config.control(), v.Component, what)
}

// awayTime is how long an agent may be away while it is followed, as when it is
// upgraded.
const awayTime = 2 * time.Minute

// followPause is between two looks at an update.
const followPause = 100 * time.Millisecond

// follow prints the steps of an update until it has ended; only if the device
// has then what was asked for there is no error.
func (o *options) follow(ctx context.Context, component, id string) error {
	said := ""
	for seen := time.Now(); ; {
		views, err := link.Status(ctx, o.config.control())
		switch {
		case err == nil:
			seen = time.Now()
		case time.Since(seen) > awayTime:
			return fmt.Errorf("the agent is away; the update goes on when it is back, and tranquil-agent history shows how it ends: %w", err)
		case said != "away":
			said = "away"
			fmt.Fprintln(o.out, "The agent is away; waiting for it.")
		}
		if err != nil {
			if err := o.pause(ctx); err != nil {
				return err
			}
			continue
		}
		v, err := named(views, component)
		if err != nil {
			return err
		}
		if v.Outcome != nil && v.Outcome.Update == id {
			fmt.Fprintln(o.out, result(v.Outcome)) // whatever else is under way by now
			if r := v.Outcome.Result; r != engine.Updated && r != engine.Unchanged {
				return fmt.Errorf("the update ended: %s", v.Outcome.Result)
			}
			return nil
		}
		if v.Progress != nil && v.Progress.Update == id && v.Progress.Step != said {
			said = v.Progress.Step
			fmt.Fprintln(o.out, describe(v))
		}
		if err := o.pause(ctx); err != nil {
			return err
		}
	}
}

func (o *options) pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return errors.New("interrupted; the update goes on: tranquil-agent status")
	case <-time.After(followPause):
		return nil
	}
}

func (o *options) printJSON(v any) error {
	e := json.NewEncoder(o.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
