package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/reported"
)

type rollbackCmd struct {
	ID        string        `arg:"" help:"Device id."`
	Component string        `arg:"" help:"Component, as in application/sensor-adapter."`
	Yes       bool          `help:"Do not ask."`
	Wait      bool          `help:"Follow the update to its end; exit code 1 unless it is updated."`
	Timeout   time.Duration `default:"10m" help:"How long to --wait."`
}

// Help is the long text of tranquil rollback --help.
func (*rollbackCmd) Help() string {
	return `The device says which way leads back, and what is lost on it; this is printed
before anything happens. If transforms lead back, the present state goes through
them. If they would lose something, or there are none, the version before gets
the state that it has left behind, and what was stored since is lost.

The component stays at that version: a schedule (tranquil update --check) does
not bring back the version that it came from.`
}

// Run asks, and wishes for the version before.
func (c *rollbackCmd) Run(s *session) error {
	if err := pack.CheckComponent(c.Component); err != nil {
		return err
	}
	hub, before, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	previous, err := c.explain(s, before)
	if err != nil {
		return err
	}
	if !c.Yes && !confirmed(s) {
		return errors.New("not confirmed, nothing was wished for")
	}
	attempt, _ := wishOf(before, c.Component)["attempt"].(float64)
	wish := map[string]any{"version": previous.Version, "package": nil, "attempt": int(attempt) + 1, "state": "transform"}
	if wishOf(before, c.Component)["remove"] != nil {
		wish["remove"] = nil
	}
	if previous.Way == "saved state" {
		wish["state"] = "saved"
	}
	patch := iothub.TwinPatch{Desired: map[string]any{"components": map[string]any{c.Component: wish}}}
	after, err := hub.PatchTwin(s.ctx, c.ID, patch, "")
	if err == nil {
		err = s.asked(c.ID, c.Component, wish)
	}
	if err != nil {
		return err
	}
	u := &updateCmd{ID: c.ID, Component: c.Component, Version: previous.Version, Again: true, Wait: c.Wait, Timeout: c.Timeout}
	u.confirm(s)
	return u.follow(s, hub, before, after)
}

// explain says what going back means.
func (c *rollbackCmd) explain(s *session, twin *iothub.Twin) (*reported.Previous, error) {
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return nil, err
	}
	component := report.component(c.Component)
	p := component.Previous
	switch {
	case p == nil:
		return nil, fmt.Errorf("%s reports no version of %s from before", c.ID, c.Component)
	case p.Way == "none":
		return nil, fmt.Errorf("there is no way back to version %s: %s", p.Version, oneLine(p.Note))
	}
	by := ", which has no state"
	if p.Way != "no state" {
		by = " by its " + oneLine(p.Way)
	}
	fmt.Fprintf(s.out, "%s goes back from %s %s to %s%s: it %s\n", c.ID, c.Component, component.Version, p.Version, by, oneLine(p.Note))
	if p.SavedAt != nil {
		fmt.Fprintf(s.out, "the last state of %s was saved at %s\n", p.Version, moment(*p.SavedAt))
	}
	if report.State == "offline" {
		fmt.Fprintf(s.out, "%s is offline: this is what it reported last\n", c.ID)
	}
	return p, nil
}

// confirmed asks on the terminal, or wherever the input comes from.
func confirmed(s *session) bool {
	to := s.out
	if s.JSON {
		to = s.err
	}
	fmt.Fprint(to, "Go on? [y/N] ")
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(answer), "y")
}
