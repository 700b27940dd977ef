package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/schedule"
)

type updateCmd struct {
	ID        string        `arg:"" help:"Device id."`
	Component string        `arg:"" help:"Component, as in application/sensor-adapter."`
	Version   string        `arg:"" optional:"" help:"Version it shall have; may be left out with --check, --no-check and --no-version."`
	NoVersion bool          `help:"Take the wish for a version back. What is installed stays."`
	Now       bool          `help:"Do not wait for the maintenance window."`
	Again     bool          `help:"Try a version again that has failed before."`
	Losing    bool          `name:"may-lose-state" help:"Go on also if the present state cannot be saved, and begin on an empty one."`
	Yes       bool          `help:"Do not ask; only --may-lose-state does."`
	Check     string        `xor:"check" placeholder:"CRON" help:"Have the device look for newer versions by this schedule, as in '0 */6 * * *'."`
	NoCheck   bool          `xor:"check" help:"End the schedule."`
	Wait      bool          `help:"Follow the update to its end; exit code 1 unless it is updated or unchanged."`
	Timeout   time.Duration `default:"10m" help:"How long to --wait."`
}

// Help is the long text of tranquil update --help.
func (*updateCmd) Help() string {
	return `A VERSION is a goal, and is answered once: the device goes to it, up or down, or
says why not, and leaves it at that. A failed one is tried anew with --again.

An update saves the state first, and turns back if it cannot: so does one of a
component that crashes, or does not hand over its state. With --may-lose-state it
goes on. What cannot be saved is lost then, also if it turns back after all.

A --check goes on: whenever the schedule is due, the device installs whatever is
newer than what it has. Both may be set, and neither ends the other: a schedule
goes on beyond the VERSION. To keep a device at a version, give it and --no-check.`
}

func (c *updateCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	hub, before, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	if err := c.foresee(s, before); err != nil {
		return err
	}
	if c.Losing {
		fmt.Fprintf(s.out, "If the present state of %s on %s cannot be saved, it is LOST\n", c.Component, c.ID)
		if !c.Yes && !confirmed(s) {
			return errors.New("not confirmed, nothing was wished for")
		}
	}
	wish := c.wish(before)
	desired := map[string]any{"components": map[string]any{c.Component: wish}}
	after, err := hub.PatchTwin(s.ctx, c.ID, iothub.TwinPatch{Desired: desired}, "")
	if err == nil {
		err = s.asked(c.ID, c.Component, wish)
	}
	if err != nil {
		return err
	}
	c.confirm(s)
	return c.follow(s, hub, before, after)
}

func (c *updateCmd) check() error {
	if err := pack.CheckComponent(c.Component); err != nil {
		return err
	}
	switch {
	case schedule.Check(c.Check) != nil:
		return schedule.Check(c.Check)
	case c.Version == "" && (c.Again || c.Wait || c.Now || c.Losing):
		return errors.New("--again, --wait, --now and --may-lose-state need a VERSION")
	case c.Version == "" && !c.NoVersion && c.Check == "" && !c.NoCheck:
		return errors.New("nothing to wish for: give a VERSION, --check, --no-check or --no-version")
	case c.Version != "" && c.NoVersion:
		return errors.New("a VERSION and --no-version contradict each other")
	case c.Version != "":
		return pack.CheckVersion(c.Version)
	}
	return nil
}

// wish is the patch of the component's desired properties.
func (c *updateCmd) wish(before *iothub.Twin) map[string]any {
	wish := map[string]any{}
	switch {
	case c.NoVersion:
		wish["version"], wish["package"] = nil, nil
	case c.Version != "":
		wish["version"] = c.Version
		if wishOf(before, c.Component)["remove"] != nil {
			wish["remove"] = nil
		}
		if c.Now {
			wish["now"] = c.Version
		} else if wishOf(before, c.Component)["now"] != nil {
			wish["now"] = nil
		}
		if c.Losing {
			wish["state"] = "optional"
		} else if wishOf(before, c.Component)["state"] != nil {
			wish["state"] = nil // that was about another version
		}
	}
	switch {
	case c.NoCheck:
		wish["check"] = nil
	case c.Check != "":
		wish["check"] = c.Check
	}
	if c.Again {
		attempt, _ := wishOf(before, c.Component)["attempt"].(float64)
		wish["attempt"] = int(attempt) + 1
	}
	return wish
}

// wishOf returns what a device was asked for before.
func wishOf(twin *iothub.Twin, component string) map[string]any {
	components, _ := twin.Properties.Desired["components"].(map[string]any)
	wish, _ := components[component].(map[string]any)
	return wish
}

func (c *updateCmd) confirm(s *session) {
	if c.Version != "" {
		fmt.Fprintf(s.out, "%s shall have %s %s\n", c.ID, c.Component, c.Version)
	}
	if c.NoVersion {
		fmt.Fprintf(s.out, "%s may keep the %s it has\n", c.ID, c.Component)
	}
	if c.Check != "" {
		fmt.Fprintf(s.out, "%s looks for newer versions of %s: %s\n", c.ID, c.Component, c.Check)
	}
	if c.NoCheck {
		fmt.Fprintf(s.out, "%s no longer looks for newer versions of %s by itself\n", c.ID, c.Component)
	}
}

// foresee warns of a component that the device does not have, before the wish
// is written: nothing would come of it, and nothing to wait for.
func (c *updateCmd) foresee(s *session, twin *iothub.Twin) error {
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return err
	}
	if _, has := report.Components[c.Component]; has || len(report.Components) == 0 || c.takesBack() {
		return nil
	}
	warning := fmt.Sprintf("%s has no component %s, it has %s", c.ID, c.Component,
		strings.Join(slices.Sorted(maps.Keys(report.Components)), ", "))
	if c.Wait {
		return errors.New(warning + "; nothing was wished for")
	}
	fmt.Fprintf(s.err, "warning: %s; to take the wish back: tranquil wish drop %s %s\n", warning, c.ID, c.Component)
	return nil
}

// takesBack reports whether c asks for nothing new.
func (c *updateCmd) takesBack() bool { return c.Version == "" && c.Check == "" }

// follow warns of what the device's report says against the wish, and waits
// for the answer if that was asked for.
func (c *updateCmd) follow(s *session, hub *iothub.Client, before, after *iothub.Twin) error {
	report, err := decodeReport(before.Properties.Reported)
	if err != nil {
		return err
	}
	last := report.last(c.Component)
	switch under := c.NoVersion && last.ID != "" && last.Result == ""; {
	case under && report.component(c.Component).Object != "":
		fmt.Fprintf(s.err, "update %s to %s is in progress, and ends, unless the device installs it already\n", last.ID, orNone(last.To))
	case under:
		fmt.Fprintf(s.err, "update %s to %s is in progress, and goes on; to end it: tranquil cancel %s %s\n", last.ID, orNone(last.To), c.ID, c.Component)
	}
	if shut := report.component(c.Component).shut(time.Now()); shut != "" && c.Version != "" && !c.Now {
		fmt.Fprintf(s.err, "%s: the update prepares itself, and waits; tranquil update --now does not\n", shut)
	}
	switch report.State {
	case "offline":
		fmt.Fprintf(s.err, "%s is offline: the wish waits for it\n", c.ID)
	case "":
		fmt.Fprintf(s.err, "%s has never reported anything: the wish waits for its agent\n", c.ID)
	}
	if last.To == c.Version && failed(last) && !c.Again {
		fmt.Fprintf(s.err, "warning: the last update to %s: %s\nThe same wish is not tried anew: add --again.\n", c.Version, last.ending())
	}
	if !c.Wait {
		return nil
	}
	w := &watch{updateCmd: c, last: last, follower: follower{twin: after}, teller: s.teller(), refusal: report.Refused["components/"+c.Component]}
	same := wishOf(before, c.Component)["version"] == c.Version && !c.Again
	if same && last.To == c.Version && last.Result != "" && report.State != "offline" {
		fmt.Fprintln(s.err, "this wish is not new, and was answered before:")
		return w.conclude(s, last)
	}
	if same && last.Result != "" && report.State != "offline" {
		if done, err := c.answered(s, hub, before, report.component(c.Component)); done {
			return err
		}
	}
	return w.run(s, hub)
}

// answered tells of a wish that is not new and is not what the device has done last: it waits in vain if the device has
// changed since by other means.
func (c *updateCmd) answered(s *session, hub *iothub.Client, before *iothub.Twin, now componentReport) (done bool, err error) {
	history, err := hub.History(s.ctx, c.ID) // another hub may have none
	if err == nil {
		wished := wishedAt(before, c.Component)
		for _, o := range history.Outcomes {
			if o.Component != c.Component || o.To != c.Version || !o.At.After(wished) {
				continue
			}
			fmt.Fprintf(s.err, "this wish is not new, and was answered before: %s\n", updateReport(o.Update).ending())
			if now.Version == c.Version {
				return true, nil
			}
			return true, fmt.Errorf("since then %s has got %s by other means: add --again to have %s once more", c.ID, orNone(now.Version), c.Version)
		}
	}
	fmt.Fprintln(s.err, "this wish is not new: if it was answered before, nothing comes of it; then add --again")
	return false, nil
}

// wishedAt is when a version was last asked for, the zero time if the hub does not say.
func wishedAt(twin *iothub.Twin, component string) time.Time {
	var at any = twin.Properties.Desired["$metadata"]
	for _, name := range []string{"components", component, "version", "$lastUpdated"} {
		inner, _ := at.(map[string]any)
		at = inner[name]
	}
	text, _ := at.(string)
	t, _ := time.Parse(time.RFC3339, text)
	return t
}
