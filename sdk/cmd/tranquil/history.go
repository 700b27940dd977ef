package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/reported"
)

type historyCmd struct {
	ID        string `arg:"" help:"Device id."`
	Component string `arg:"" optional:"" help:"Component, as in application/sensor-adapter; default: all."`

	shown int // outcomes
}

// Help is the long text of tranquil history --help.
func (*historyCmd) Help() string {
	return `How the updates of a device have ended, oldest first, as far back as the hub
keeps its events. Each is there once; a device that was cut off tells them later.`
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
	if err := c.all(s, hub, twin); err != nil || c.shown > 0 || c.Component == "" {
		return err
	}
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return err
	}
	_, err = report.has(c.ID, c.Component)
	return err
}

// all prints the outcomes in all events that the hub has kept.
func (c *historyCmd) all(s *session, hub *iothub.Client, twin *iothub.Twin) error {
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(historySilence, func() { cancel(errQuiet) })
	for event, err := range hub.Events(ctx, c.ID, "0") {
		if errors.Is(err, errQuiet) {
			return nil
		}
		if err != nil {
			return err
		}
		quiet.Reset(historySilence)
		change, err := c.print(s, event)
		if err != nil {
			return err
		}
		if change.Version >= twin.Version {
			return nil
		}
	}
	return nil
}

// The history ends where the twin is; or, if the hub has dropped that event,
// when no more come.
const historySilence = 5 * time.Second

var errQuiet = errors.New("no more events")

// print prints the outcomes in one event.
func (c *historyCmd) print(s *session, event iothub.Event) (change iothub.TwinChange, err error) {
	if event.Type != iothub.EventTwinChanged {
		return change, nil
	}
	if err := json.Unmarshal(event.Body, &change); err != nil {
		return change, fmt.Errorf("cannot read event %s: %w", event.ID, err)
	}
	components, _ := change.Properties.Reported["components"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(components)) {
		fields, _ := components[name].(map[string]any)
		if fields["outcome"] == nil || c.Component != "" && c.Component != name {
			continue
		}
		b, err := json.Marshal(fields["outcome"])
		if err != nil {
			return change, err
		}
		o := outcomeReport{reported.Outcome{At: event.Time}, name} // unless the device says when
		if err := json.Unmarshal(b, &o); err != nil {
			return change, fmt.Errorf("cannot read event %s: %w", event.ID, err)
		}
		if err := c.show(s, o); err != nil {
			return change, err
		}
	}
	return change, nil
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

func (c *historyCmd) show(s *session, o outcomeReport) error {
	c.shown++
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
