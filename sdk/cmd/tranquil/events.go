package main

import (
	"fmt"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

type eventsCmd struct {
	ID    string `arg:"" optional:"" help:"Device id; default: all devices."`
	Since string `placeholder:"EVENT-ID" help:"Begin after this event: an id that --json prints."`
}

func (c *eventsCmd) Run(s *session) error {
	hub, err := s.hub()
	if err != nil {
		return err
	}
	for event, err := range hub.Events(s.ctx, c.ID, c.Since) {
		if err != nil {
			return err
		}
		if err := c.print(s, event); err != nil {
			return err
		}
	}
	return nil
}

func (c *eventsCmd) print(s *session, event iothub.Event) error {
	if s.JSON {
		return s.line(event)
	}
	_, err := fmt.Fprintf(s.out, "%s  %s  %s\n", moment(event.Time), event.Device, describeEvent(event))
	return err
}
