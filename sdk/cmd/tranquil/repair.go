package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

type repairCmd struct {
	ID        string        `arg:"" help:"Device id."`
	Component string        `arg:"" optional:"" help:"Component that stays stopped, or has ended inconsistent; default: the agent itself."`
	Restore   uint64        `xor:"state" placeholder:"GENERATION" help:"Have the component go on with this saved state."`
	Keep      bool          `xor:"state" help:"Have it go on with the state that it has."`
	Yes       bool          `help:"Do not ask."`
	Wait      bool          `help:"Wait until it is done; exit code 1 if it has not helped."`
	Timeout   time.Duration `default:"10m" help:"How long to --wait."`
}

// Help is the long text of tranquil repair --help.
func (*repairCmd) Help() string {
	return `An agent that cannot read its journal is in safe mode: its components run, and
no update starts (tranquil device show tells why). A repair has it set aside what
it cannot read, ask the updaters what is installed, and go on. Look at the
component afterwards: an update may have been cut off.

A COMPONENT stays stopped if its version and its live state do not belong
together, and the agent cannot bring them together: no version starts on the
state of another one. Somebody has to decide: --keep has the version that is
there go on with the state that is there, --restore with a saved one, through
transforms if need be; what it has now is saved before. Without either, the
saved states are listed. A component that runs gets a saved state by an update,
which turns back if that does not go well.`
}

func (c *repairCmd) Run(s *session) error {
	hub, before, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	if c.Component == "" {
		return c.agent(s, hub, before)
	}
	return c.component(s, hub, before)
}

// agent has the agent leave safe mode.
func (c *repairCmd) agent(s *session, hub *iothub.Client, before *iothub.Twin) error {
	if c.Keep || c.Restore != 0 {
		return errors.New("--keep and --restore need a COMPONENT")
	}
	desired, _ := before.Properties.Desired["repair"].(float64)
	done, _ := before.Properties.Reported["repaired"].(float64)
	number := max(desired, done) + 1
	patch := iothub.TwinPatch{Desired: map[string]any{"repair": number}}
	if _, err := hub.PatchTwin(s.ctx, c.ID, patch, ""); err != nil {
		return err
	}
	safe := before.Properties.Reported["mode"] == "safe"
	if safe {
		fmt.Fprintf(s.out, "%s shall leave safe mode: repair %.0f\n", c.ID, number)
	} else {
		fmt.Fprintf(s.out, "%s is not in safe mode, as far as its twin knows; it is asked for repair %.0f all the same\n", c.ID, number)
		c.hint(s, before)
	}
	if !c.Wait {
		return nil
	}
	return c.await(s, hub, func(twin *iothub.Twin) (bool, error) { return c.left(s, twin, number, safe) })
}

// hint names the components that may be meant.
func (c *repairCmd) hint(s *session, twin *iothub.Twin) {
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(report.Components)) {
		if report.last(name).Result == "inconsistent" {
			fmt.Fprintf(s.err, "%s is inconsistent: see tranquil repair %s %[1]s\n", name, c.ID)
		}
	}
}

// left tells whether a repair of the agent has ended, and what came of it.
func (c *repairCmd) left(s *session, twin *iothub.Twin, number float64, safe bool) (ended bool, err error) {
	reported := twin.Properties.Reported
	if done, _ := reported["repaired"].(float64); done != number {
		return false, nil
	}
	if fault, _ := reported["fault"].(string); fault != "" {
		return true, fmt.Errorf("%s is still in safe mode: %s", c.ID, oneLine(fault))
	}
	if safe {
		fmt.Fprintf(s.out, "%s has left safe mode\n", c.ID)
	} else {
		fmt.Fprintf(s.out, "repair %.0f has ended: %s is not in safe mode\n", number, c.ID) // it may have been, unknown to its twin
	}
	return true, nil
}

// component has a component go on with a state.
func (c *repairCmd) component(s *session, hub *iothub.Client, before *iothub.Twin) error {
	if err := pack.CheckComponent(c.Component); err != nil {
		return err
	}
	report, err := decodeReport(before.Properties.Reported)
	if err != nil {
		return err
	}
	if _, err := report.has(c.ID, c.Component); err != nil {
		return err
	}
	number := c.number(before, report.component(c.Component))
	if err := c.explain(s, report); err != nil {
		return err
	}
	if !c.Yes && !confirmed(s) {
		return errors.New("not confirmed, nothing was asked for")
	}
	repair := map[string]any{"number": number, "state": any("keep")}
	if c.Restore != 0 {
		repair["state"] = c.Restore
	}
	patch := iothub.TwinPatch{Desired: map[string]any{"components": map[string]any{c.Component: map[string]any{"repair": repair}}}}
	if _, err := hub.PatchTwin(s.ctx, c.ID, patch, ""); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s shall repair %s: repair %d\n", c.ID, c.Component, number)
	if report.State == "offline" {
		fmt.Fprintf(s.err, "%s is offline: the repair waits for it\n", c.ID)
	}
	if !c.Wait {
		return nil
	}
	w := &repairWatch{repairCmd: c, number: number, refused: report.Refused["components/"+c.Component]}
	return c.await(s, hub, func(twin *iothub.Twin) (bool, error) { return w.look(s, twin) })
}

// number is one more than any repair of the component before.
func (c *repairCmd) number(twin *iothub.Twin, component componentReport) int {
	last, _ := wishOf(twin, c.Component)["repair"].(map[string]any)
	desired, _ := last["number"].(float64)
	return max(int(desired), int(component.Repaired)) + 1
}

// explain says what the repair means, and from what can be chosen.
func (c *repairCmd) explain(s *session, report *report) error {
	component := report.component(c.Component)
	fmt.Fprintf(s.out, "%s: %s\n", c.Component, component)
	if component.Update != nil {
		fmt.Fprintf(s.out, "%s\n", report.last(c.Component))
	}
	_, saved := component.States[strconv.FormatUint(c.Restore, 10)]
	switch {
	case c.Keep:
		fmt.Fprintln(s.out, "it goes on with the state that it has, whatever version that is of")
		return nil
	case c.Restore != 0 && (saved || len(component.States) == 0):
		fmt.Fprintf(s.out, "it goes on with generation %d; what it has now is saved, if it is known of which version it is\n", c.Restore)
		return nil
	case c.Restore != 0:
		return fmt.Errorf("%s reports no saved state %d of %s; it has %s", c.ID, c.Restore, c.Component, strings.Join(component.generations(), ", "))
	}
	for _, gen := range component.generations() {
		fmt.Fprintf(s.out, "generation %s: %s\n", gen, stateReport(component.States[gen]))
	}
	return errors.New("decide: --keep, or --restore with one of its saved states")
}

// A repairWatch follows the repair of a component.
type repairWatch struct {
	*repairCmd
	number  int
	refused string // before
	said    string
}

// look tells whether the repair has ended, and what came of it.
func (w *repairWatch) look(s *session, twin *iothub.Twin) (ended bool, err error) {
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return true, err
	}
	if cause := report.Refused["components/"+w.Component]; cause != w.refused && strings.Contains(cause, "repair") {
		return true, fmt.Errorf("%s refused the repair: %s", w.ID, oneLine(cause))
	}
	u := report.last(w.Component)
	switch {
	case u.Result == "" && u.ID != "":
		if line := u.going(); line != w.said {
			fmt.Fprintln(s.out, line)
			w.said = line
		}
		return false, nil
	case int(report.component(w.Component).Repaired) != w.number:
		return false, nil
	}
	fmt.Fprintln(s.out, u.ending())
	if failed(u) {
		return true, fmt.Errorf("%s has not repaired %s", w.ID, w.Component)
	}
	return true, nil
}

// await looks at the twin until the repair has ended.
func (c *repairCmd) await(s *session, hub *iothub.Client, look func(*iothub.Twin) (bool, error)) error {
	ctx, cancel := context.WithTimeout(s.ctx, c.Timeout)
	defer cancel()
	for twin, err := range hub.Follow(ctx, c.ID) {
		if ctx.Err() != nil && s.ctx.Err() == nil {
			break
		}
		if err != nil {
			return err
		}
		if ended, err := look(twin); ended {
			return err
		}
	}
	return errors.New("the agent has not answered in time: the repair waits for it")
}
