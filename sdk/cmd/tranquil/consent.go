package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/window"
)

type consentCmd struct {
	ID        string `arg:"" help:"Device id."`
	Component string `arg:"" help:"Component, as in application/sensor-adapter."`
	Refuse    bool   `xor:"what" help:"Refuse the update: it ends, and nothing was touched."`
	Ask       bool   `xor:"what" help:"Have every update of the component wait for consent from now on."`
	NoAsk     bool   `xor:"what" help:"No longer ask."`
}

// Help is the long text of tranquil consent --help.
func (*consentCmd) Help() string {
	return `Answers the update of the component that is in progress, as the twin shows it
now. The answer names that update: it does not count for any other. An update
that waits for consent waits until it is answered.`
}

func (c *consentCmd) Run(s *session) error {
	if err := pack.CheckComponent(c.Component); err != nil {
		return err
	}
	hub, err := s.hub()
	if err != nil {
		return err
	}
	if c.Ask || c.NoAsk {
		if err := s.known(hub, c.ID, c.Component); err != nil {
			return err
		}
	}
	change, done, err := c.change(s, hub)
	if err != nil {
		return err
	}
	patch := iothub.TwinPatch{Desired: map[string]any{"components": map[string]any{c.Component: change}}}
	if _, err := hub.PatchTwin(s.ctx, c.ID, patch, ""); err != nil {
		return err
	}
	fmt.Fprintln(s.out, done)
	return s.asked(c.ID, c.Component, change)
}

// change is what to write into the component's desired properties, and what to
// say when that is done.
func (c *consentCmd) change(s *session, hub *iothub.Client) (change map[string]any, done string, err error) {
	switch {
	case c.Ask:
		return map[string]any{"consent": "ask"}, fmt.Sprintf("updates of %s on %s wait for consent", c.Component, c.ID), nil
	case c.NoAsk:
		return map[string]any{"consent": nil}, fmt.Sprintf("updates of %s on %s need no consent of the back end's making", c.Component, c.ID), nil
	}
	component, now, err := s.inProgress(hub, c.ID, c.Component)
	update := component.updateOf()
	switch {
	case err != nil:
		return nil, "", err
	case update.Phase == "execution" || update.Phase == "transformation":
		return nil, "", errors.New("too late: the update has begun; tranquil cancel turns it back")
	case c.Refuse:
		return map[string]any{"refused": update.ID}, fmt.Sprintf("refused update %s of %s to %s", update.ID, c.Component, update.To), nil
	}
	done = fmt.Sprintf("update %s of %s to %s may begin", update.ID, c.Component, update.To)
	if update.For != "" && !strings.HasPrefix(update.For, "consent") {
		done += ", but waits for " + update.For
	} else if shut := component.shut(time.Now()); shut != "" && now != update.To {
		done += ", but " + shut
	}
	return map[string]any{"consented": update.ID}, done, nil
}

// known refuses a component that the device does not have, and warns if nobody
// can tell: a device that is away may come back with another configuration.
func (s *session) known(hub *iothub.Client, device, component string) error {
	twin, err := hub.Twin(s.ctx, device)
	if err != nil {
		return err
	}
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return err
	}
	known, err := report.has(device, component)
	if err == nil && !known {
		fmt.Fprintf(s.err, "tranquil: warning: %s is not known to have %s, and is not there to be asked: look at tranquil device show %[1]s when it is\n", device, component)
	}
	return err
}

// inProgress returns a component of which an update is in progress, and which
// version need not wait for its window.
func (s *session) inProgress(hub *iothub.Client, device, component string) (c componentReport, now string, err error) {
	twin, err := hub.Twin(s.ctx, device)
	if err != nil {
		return c, "", err
	}
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return c, "", err
	}
	c = report.component(component)
	if u := c.updateOf(); u.ID == "" || u.Result != "" {
		return c, "", fmt.Errorf("no update of %s is in progress on %s", component, device)
	}
	now, _ = wishOf(twin, component)["now"].(string)
	return c, now, nil
}

type cancelCmd struct {
	ID        string `arg:"" help:"Device id."`
	Component string `arg:"" help:"Component, as in application/sensor-adapter."`
}

// Help is the long text of tranquil cancel --help.
func (*cancelCmd) Help() string {
	return `Refuses the update of the component that is in progress, wherever it is: it turns
back to the version before, with its state. Once the new version is committed it
is too late, and the update ends as updated.`
}

func (c *cancelCmd) Run(s *session) error {
	if err := pack.CheckComponent(c.Component); err != nil {
		return err
	}
	hub, err := s.hub()
	if err != nil {
		return err
	}
	component, _, err := s.inProgress(hub, c.ID, c.Component)
	if err != nil {
		return err
	}
	update := component.updateOf()
	patch := iothub.TwinPatch{Desired: map[string]any{"components": map[string]any{c.Component: map[string]any{"refused": update.ID}}}}
	if _, err := hub.PatchTwin(s.ctx, c.ID, patch, ""); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "update %s of %s to %s shall turn back\n", update.ID, c.Component, update.To)
	return s.asked(c.ID, c.Component, map[string]string{"refused": update.ID})
}

type windowCmd struct {
	ID        string `arg:"" help:"Device id."`
	Component string `arg:"" help:"Component, as in application/sensor-adapter."`
	Window    string `arg:"" optional:"" help:"Default: show it. As in 'Mon-Fri 01:00-04:30 Europe/Zurich; Sat,Sun 00:00-24:00'. UTC if no zone is named."`
	None      bool   `help:"Updates may begin at any time again."`
}

// Help is the long text of tranquil window --help.
func (*windowCmd) Help() string {
	return `An update of the component prepares itself at any time, and then waits for the
maintenance window before it disturbs the component. In an emergency, tranquil
update --now has one version not wait. The device says if it cannot read the
window after all: see refused in tranquil device show.`
}

func (c *windowCmd) Run(s *session) error {
	if err := pack.CheckComponent(c.Component); err != nil {
		return err
	}
	switch {
	case c.Window == "" && !c.None:
		return c.show(s)
	case c.Window != "" && c.None:
		return errors.New("give either a WINDOW or --none")
	}
	w, err := window.Parse(c.Window)
	if err != nil {
		return err
	}
	hub, err := s.hub()
	if err != nil {
		return err
	}
	if err := s.known(hub, c.ID, c.Component); err != nil && !c.None {
		return err
	}
	open, done := any(c.Window), fmt.Sprintf("updates of %s on %s wait for %s", c.Component, c.ID, c.Window)
	if _, ever := w.Next(time.Now()); !ever && !c.None {
		done = fmt.Sprintf("updates of %s on %s wait for another window: %q never opens", c.Component, c.ID, c.Window)
	}
	if c.None {
		open, done = nil, fmt.Sprintf("updates of %s on %s may begin at any time", c.Component, c.ID)
	}
	patch := iothub.TwinPatch{Desired: map[string]any{"components": map[string]any{c.Component: map[string]any{"window": open}}}}
	if _, err := hub.PatchTwin(s.ctx, c.ID, patch, ""); err != nil {
		return err
	}
	fmt.Fprintln(s.out, done)
	return s.asked(c.ID, c.Component, map[string]any{"window": open})
}

// show prints the window that is asked for, and the one that the device has.
func (c *windowCmd) show(s *session) error {
	_, twin, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return err
	}
	if _, err := report.has(c.ID, c.Component); err != nil {
		return err
	}
	component := report.component(c.Component)
	asked, _ := wishOf(twin, c.Component)["window"].(string)
	if s.JSON {
		return s.printJSON(map[string]string{"window": component.Window, "asked": asked, "closed": component.shut(time.Now())})
	}
	switch {
	case component.Window == "" && asked == "":
		fmt.Fprintf(s.out, "updates of %s on %s may begin at any time\n", c.Component, c.ID)
		return nil
	case component.Window != "":
		fmt.Fprintf(s.out, "%s\n", oneLine(component.Window))
	}
	if shut := component.shut(time.Now()); shut != "" {
		fmt.Fprintln(s.out, shut)
	}
	if asked != component.Window {
		fmt.Fprintf(s.out, "asked for, and not taken by the device yet: %s\n", oneLine(orNone(asked)))
	}
	return nil
}
