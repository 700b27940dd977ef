package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tranquil-iot/tranquil/sdk/reported"
	"github.com/tranquil-iot/tranquil/sdk/window"
)

// A report is what people ask for of what a device reports.
type report struct{ reported.Document }

type (
	componentReport reported.Component
	stateReport     reported.State
	updateReport    reported.Update
)

// String is as in "of 1.0.0, schema 1, saved at 2026-11-22T08:00:04Z, 512 bytes".
func (s stateReport) String() string {
	line := fmt.Sprintf("of %s, schema %d, saved at %s, %d bytes", oneLine(s.Version), s.Schema, moment(s.SavedAt), s.Bytes)
	if s.Damaged {
		line += ", DAMAGED"
	}
	return line
}

// generations lists the saved states, oldest first.
func (c componentReport) generations() []string {
	return slices.SortedFunc(maps.Keys(c.States), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) // they are numbers
	})
}

func decodeReport(properties map[string]any) (*report, error) {
	var r report
	if err := reported.Decode(properties, &r.Document); err != nil {
		return nil, err
	}
	return &r, nil
}

// component is what the device reports of one, the zero report if nothing.
func (r *report) component(name string) componentReport { return componentReport(r.Components[name]) }

// last returns the last update of a component, the zero update if it had none.
func (r *report) last(component string) updateReport {
	return r.component(component).updateOf()
}

// updateOf is the last update of a component.
func (c componentReport) updateOf() updateReport {
	if c.Update == nil {
		return updateReport{}
	}
	u := updateReport(*c.Update)
	if !c.Stale {
		u.Until = nil // it is back already
	}
	return u
}

func (r *report) show(w io.Writer) {
	if r.Mode != "" {
		fmt.Fprintf(w, "mode\t%s, no update starts: %s (see tranquil repair)\n", oneLine(r.Mode), oneLine(r.Fault))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Components)) {
		c := r.component(name)
		fmt.Fprintf(w, "%s\t%s\n", oneLine(name), c)
		if c.Update != nil {
			fmt.Fprintf(w, "\t%s\n", r.last(name))
		}
		for _, line := range c.admission() {
			fmt.Fprintf(w, "\t%s\n", line)
		}
		if p := c.Previous; p != nil {
			fmt.Fprintf(w, "\tprevious: %s, way back: %s\n", oneLine(p.Version), oneLine(p.Way))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(w, "refused\t%s: %s\n", oneLine(path), oneLine(r.Refused[path]))
	}
}

// String tells what runs: "1.4.0, schema 1, running, stale".
func (c componentReport) String() string {
	words := []string{c.Version}
	switch {
	case c.Version == "" && c.Running: // its agent is in safe mode
		words[0] = "version unknown"
	case c.Version == "":
		words[0] = "not installed"
	}
	if c.Schema > 0 {
		words = append(words, fmt.Sprintf("schema %d", c.Schema))
	}
	switch {
	case c.Running:
		words = append(words, "running")
	case c.Version != "":
		words = append(words, "not running")
	}
	if c.Stale {
		words = append(words, "stale")
	}
	return oneLine(strings.Join(words, ", "))
}

// shut says that the component's maintenance window is closed, and until when;
// "" if it is not.
func (c componentReport) shut(now time.Time) string {
	w, err := window.Parse(c.Window)
	if err != nil || c.Window == "" || w.Open(now) {
		return "" // the device knows better what to do with it
	}
	if next, ok := w.Next(now); ok {
		return "its maintenance window is closed until " + moment(next)
	}
	return "its maintenance window never opens: " + oneLine(c.Window)
}

// admission says when the component may be updated, as far as anything is to
// be said.
func (c componentReport) admission() (lines []string) {
	for _, l := range [][2]string{{"window", c.Window}, {"consent", c.Consent}, {"checks", c.Check}} {
		if l[1] != "" {
			lines = append(lines, l[0]+": "+oneLine(l[1]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Dependants)) {
		lines = append(lines, "dependant "+oneLine(name)+": "+oneLine(c.Dependants[name]))
	}
	return lines
}

// has reports whether the device has a component. Nobody knows, and err is
// nil, if it never said which it has.
func (r *report) has(device, component string) (known bool, err error) {
	if _, has := r.Components[component]; has {
		return true, nil
	}
	switch {
	case len(r.Components) == 0:
		return false, nil
	case r.State == "offline":
		return false, nil // it may come back with another configuration
	}
	return true, fmt.Errorf("%s has no component %s; it has %s", device, component, oneLine(strings.Join(slices.Sorted(maps.Keys(r.Components)), ", ")))
}

// String tells how an update goes or went, in one line.
func (u updateReport) String() string {
	if u.Result == "" {
		return fmt.Sprintf("to %s: %s", oneLine(orNone(u.To)), u.going())
	}
	return fmt.Sprintf("%s: %s", u.way(), u.ending())
}

// way is what was done: "to 2.0.0", "rollback to 1.0.0", "restore of 2.0.0".
func (u updateReport) way() string {
	switch u.Kind {
	case "", "update":
		return "to " + oneLine(orNone(u.To))
	case "restore", "repair":
		return u.Kind + " of " + oneLine(orNone(u.To))
	case "remove":
		return u.Kind
	}
	return oneLine(u.Kind) + " to " + oneLine(orNone(u.To))
}

// going is where an update is: "execution, stop, 40 %, unavailable until 08:00:04".
func (u updateReport) going() string {
	line := fmt.Sprintf("%s, %s, %.0f %%", u.Phase, u.Step, 100*u.Progress)
	if u.Back {
		line = "turns back: " + u.Step + " is undone"
	}
	if u.Size > 0 {
		line += fmt.Sprintf(", %s of %s", amount(u.Bytes), amount(u.Size))
	}
	if u.For != "" {
		line += ", waits for " + u.For
		if u.ForUntil != nil {
			line += " until " + moment(*u.ForUntil)
		}
	}
	if u.Stopped != "" {
		line += ", stopped with it: " + u.Stopped
	}
	if u.Until != nil {
		line += ", unavailable until " + moment(*u.Until)
	}
	return oneLine(line)
}

// ending is how it ended: "turned back: never healthy, downtime 2.5 s".
func (u updateReport) ending() string {
	line := u.Result
	switch {
	case u.Cancelled && u.Result == "refused":
		line = "cancelled, nothing was touched" // "refused" would say that the device has
	case u.Cancelled:
		line += ", as was asked for"
	}
	if u.Cause != "" && !(u.Cancelled && strings.HasSuffix(u.Cause, "cancelled as asked")) {
		line += ": " + u.Cause
	}
	if u.Downtime != nil && *u.Downtime > 0 {
		line += fmt.Sprintf(", downtime %g s", *u.Downtime)
		if u.Predicted > 0 {
			line += fmt.Sprintf(" (predicted %g s)", u.Predicted)
		}
	}
	if u.Stopped != "" {
		line += ", stopped with it: " + u.Stopped
	}
	if u.Rest == "forced" {
		line += ", stopped by force: " + u.RestReason
	}
	if u.Warnings != "" {
		line += "; WARNING: " + u.Warnings
	}
	return oneLine(line)
}

// oneLine keeps a device's text from breaking a table or steering a terminal.
func oneLine(s string) string {
	visible := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(visible), " ")
}

// failed tells whether u has ended without what was wished for.
func failed(u updateReport) bool { return (*reported.Update)(&u).Failed() }
