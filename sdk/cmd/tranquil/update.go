package main

import (
	"fmt"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

type updateCmd struct {
	ID        string `arg:"" help:"Device id."`
	Component string `arg:"" help:"Component, as in application/sensor-adapter."`
	Version   string `arg:"" help:"Version it shall have."`
	Again     bool   `help:"Try a version again that has failed before."`
	Check     string `placeholder:"CRON" help:"Also have the device look for newer versions by this schedule."`
}

func (c *updateCmd) Run(s *session) error {
	if err := pack.CheckComponent(c.Component); err != nil {
		return err
	}
	if err := pack.CheckVersion(c.Version); err != nil {
		return err
	}
	hub, err := s.hub()
	if err != nil {
		return err
	}
	wish := map[string]any{"version": c.Version}
	if c.Check != "" {
		wish["check"] = c.Check
	}
	if c.Again {
		twin, err := hub.Twin(s.ctx, c.ID)
		if err != nil {
			return err
		}
		wish["attempt"] = attemptOf(twin, c.Component) + 1
	}
	patch := iothub.TwinPatch{Desired: map[string]any{"components": map[string]any{c.Component: wish}}}
	if _, err := hub.PatchTwin(s.ctx, c.ID, patch, ""); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s shall have %s %s\n", c.ID, c.Component, c.Version)
	return nil
}

// attemptOf returns how often a wish for a component was repeated.
func attemptOf(twin *iothub.Twin, component string) int {
	components, _ := twin.Properties.Desired["components"].(map[string]any)
	wish, _ := components[component].(map[string]any)
	attempt, _ := wish["attempt"].(float64)
	return int(attempt)
}
