package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

type removeCmd struct {
	ID        string        `arg:"" help:"Device id."`
	Component string        `arg:"" help:"Component, as in application/sensor-adapter."`
	Purge     bool          `help:"Keep none of its saved states either."`
	Yes       bool          `help:"Do not ask."`
	Wait      bool          `help:"Follow the removal to its end; exit code 1 unless the component is gone."`
	Timeout   time.Duration `default:"10m" help:"How long to --wait."`
}

// Help is the long text of tranquil remove --help.
func (*removeCmd) Help() string {
	return `Stops a component and takes it off the device. That is an update like any other:
it waits for maintenance window and consent, stops dependants meanwhile, and
turns back if something fails.

The last state is saved first and kept: tranquil rollback brings the component
back with it. With --purge nothing is kept, and nothing brings it back; so it also
removes a component whose state cannot be saved. A version
that is installed later begins anew. No schedule brings the component back, only
a wish for a version.`
}

// Run asks, and wishes that the component were gone.
func (c *removeCmd) Run(s *session) error {
	if err := pack.CheckComponent(c.Component); err != nil {
		return err
	}
	hub, before, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	if err := s.known(hub, c.ID, c.Component); err != nil {
		return err
	}
	kept := "its last state is kept"
	if c.Purge {
		kept = "NONE of its states is kept"
	}
	fmt.Fprintf(s.out, "%s is removed from %s; %s\n", c.Component, c.ID, kept)
	if !c.Yes && !confirmed(s) {
		return errors.New("not confirmed, nothing was wished for")
	}
	attempt, _ := wishOf(before, c.Component)["attempt"].(float64)
	wish := map[string]any{"version": nil, "package": nil, "state": nil, "attempt": int(attempt) + 1, "remove": true}
	if c.Purge {
		wish["remove"] = "purge"
	}
	patch := iothub.TwinPatch{Desired: map[string]any{"components": map[string]any{c.Component: wish}}}
	after, err := hub.PatchTwin(s.ctx, c.ID, patch, "")
	if err == nil {
		err = s.asked(c.ID, c.Component, wish)
	}
	if err != nil {
		return err
	}
	u := &updateCmd{ID: c.ID, Component: c.Component, Again: true, Wait: c.Wait, Timeout: c.Timeout}
	return u.follow(s, hub, before, after)
}
