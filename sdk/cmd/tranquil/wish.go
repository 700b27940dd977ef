package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

type wishCmd struct {
	List wishListCmd `cmd:"" help:"List what is asked of a device, and what of that it refuses."`
	Drop wishDropCmd `cmd:"" help:"Take back all that is asked of a component, as of one whose name was mistyped."`
}

type wishListCmd struct {
	ID string `arg:"" help:"Device id."`
}

func (c *wishListCmd) Run(s *session) error {
	_, twin, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(map[string]any{"wishes": plain(wishesOf(twin)), "refused": report.Refused})
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	each(wishesOf(twin), func(component string, wish any) {
		fmt.Fprintf(w, "%s\t%s\n", oneLine(component), describeWish(wish))
		if cause := report.Refused["components/"+component]; cause != "" {
			fmt.Fprintf(w, "\trefused: %s\n", oneLine(cause))
		}
	})
	return w.Flush()
}

// wishesOf returns what a device is asked for, by component.
func wishesOf(twin *iothub.Twin) map[string]any {
	components, _ := twin.Properties.Desired["components"].(map[string]any)
	return components
}

type wishDropCmd struct {
	ID        string `arg:"" help:"Device id."`
	Component string `arg:"" help:"Component, as tranquil wish list writes it."`
	Yes       bool   `help:"Do not ask."`
}

// Help is the long text of tranquil wish drop --help.
func (*wishDropCmd) Help() string {
	return `Takes back all that is asked of a component: the version, the schedule of checks,
the maintenance window, consent. What is installed stays and runs. To take back
the version alone use tranquil update --no-version.`
}

// Run drops all properties of a component that the device has, so that the
// device forgets them as well; else the component itself.
func (c *wishDropCmd) Run(s *session) error {
	hub, twin, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	wish, asked := wishesOf(twin)[c.Component]
	if !asked {
		return fmt.Errorf("nothing is asked of %s on %s; %s", oneLine(c.Component), c.ID, others(wishesOf(twin)))
	}
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return err
	}
	var dropped any
	if _, has := report.Components[c.Component]; has {
		fmt.Fprintf(s.out, "%s has %s; all that is asked of it is taken back: %s\n", c.ID, c.Component, describeWish(wish))
		if !c.Yes && !confirmed(s) {
			return errors.New("not confirmed, nothing was taken back")
		}
		properties := map[string]any{}
		fields, _ := wish.(map[string]any)
		each(fields, func(key string, _ any) { properties[key] = nil })
		if dropped = properties; len(properties) == 0 {
			dropped = nil
		}
	}
	patch := iothub.TwinPatch{Desired: map[string]any{"components": map[string]any{c.Component: dropped}}}
	if _, err := hub.PatchTwin(s.ctx, c.ID, patch, ""); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "nothing is asked of %s on %s any more\n", oneLine(c.Component), c.ID)
	return s.asked(c.ID, c.Component, dropped)
}

// others says of which components something is asked.
func others(wishes map[string]any) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(wishes)) {
		if !strings.HasPrefix(name, "$") {
			names = append(names, oneLine(name))
		}
	}
	if len(names) == 0 {
		return "nor of any other component"
	}
	return "something is of " + strings.Join(names, ", ")
}
