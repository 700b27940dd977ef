package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/reported"
)

type historyCmd struct {
	ID        string `arg:"" help:"Device id."`
	Component string `arg:"" optional:"" help:"Component, as in application/sensor-adapter; default: all."`
}

// Help is the long text of tranquil history --help.
func (*historyCmd) Help() string {
	return `How the updates of a device have ended, oldest first, as far back as the hub
knows. Each is there once; a device that was cut off tells them later.`
}

// An outcomeReport is what a device has reported of an update that has ended.
type outcomeReport struct {
	reported.Outcome
	Component string `json:"component"`
}

func (c *historyCmd) Run(s *session) error {
	hub, twin, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	history, err := hub.History(s.ctx, c.ID)
	if err != nil {
		return err
	}
	shown, err := c.show(s, history)
	if err != nil || shown || c.Component == "" {
		return err
	}
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return err
	}
	_, err = report.has(c.ID, c.Component)
	return err
}

// show prints outcomes, and tells whether there are any.
func (c *historyCmd) show(s *session, history *iothub.History) (shown bool, err error) {
	if !history.Since.IsZero() {
		fmt.Fprintf(s.err, "(some that ended before %s may be missing)\n", moment(history.Since))
	}
	for _, o := range slices.Backward(history.Outcomes) {
		if c.Component != "" && c.Component != o.Component {
			continue
		}
		shown = true
		err = errors.Join(err, outcomeReport{o.Outcome, o.Component}.show(s))
	}
	return shown, err
}

// way is what was done: "update 1.0.0 to 2.0.0", "restore of 2.0.0", "remove 2.0.0".
func (o outcomeReport) way() string {
	switch o.Kind {
	case "restore", "repair":
		return updateReport(o.Update).way()
	case "remove":
		return "remove " + oneLine(orNone(o.From))
	}
	way := oneLine(orNone(o.From)) + " to " + oneLine(orNone(o.To))
	if o.Kind != "" {
		way = oneLine(o.Kind) + " " + way
	}
	return way
}

func (o outcomeReport) show(s *session) error {
	if s.JSON {
		return s.line(o)
	}
	if o.Missed > 0 {
		fmt.Fprintf(s.out, "(%d more before, which the device had no room to keep)\n", o.Missed)
	}
	_, err := fmt.Fprintf(s.out, "%s  %s  %s  %s: %s\n", moment(o.At), oneLine(o.ID), oneLine(o.Component), o.way(), updateReport(o.Update).ending())
	return err
}

func orNone(version string) string {
	if version == "" {
		return "nothing"
	}
	return version
}
