package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tranquil-iot/tranquil/sdk/reported"
)

type watchCmd struct {
	ID        string `arg:"" help:"Device id."`
	Component string `arg:"" optional:"" help:"Component, as in application/sensor-adapter; default: all."`
	Once      bool   `help:"End when no update is under way any more; exit code 1 if one has failed."`
}

// Help is the long text of tranquil watch --help.
func (*watchCmd) Help() string {
	return `Shows the updates of a device as they go, whoever has asked for them, until it is
interrupted: a line for each step, on a terminal with a bar. tranquil events has
all that happens, of all devices.`
}

func (c *watchCmd) Run(s *session) error {
	hub, twin, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	r, err := decodeReport(twin.Properties.Reported)
	if err == nil && c.Component != "" {
		_, err = r.has(c.ID, c.Component)
	}
	if err != nil {
		return err
	}
	w := &onlooker{watchCmd: c, follower: follower{twin: twin}, teller: s.teller(), ended: map[string]string{}}
	for name := range r.Components {
		if u := r.last(name); u.Result != "" {
			w.ended[name] = u.ID // before
		}
	}
	w.begin(s.ctx, hub, c.ID)
	defer w.clear()
	for {
		going, err := w.look(s)
		if err == nil && c.Once && !going {
			return w.failure
		}
		if err == nil {
			err = w.next()
		}
		if err != nil {
			return err
		}
	}
}

// An onlooker shows the updates of a device.
type onlooker struct {
	*watchCmd
	follower
	teller
	ended   map[string]string // ids of the last updates that have ended, by component
	failure error
}

// look shows what is new, and tells whether an update is under way.
func (w *onlooker) look(s *session) (going bool, err error) {
	r, err := decodeReport(w.twin.Properties.Reported)
	if err != nil {
		return false, err
	}
	for _, name := range slices.Sorted(maps.Keys(r.Components)) {
		u := r.last(name)
		if c := w.Component; c != "" && c != name {
			continue
		}
		switch {
		case (*reported.Update)(&u).Going():
			going = true
			err = w.say(s, name, u)
		case u.Result != "" && w.ended[name] != u.ID:
			w.clear()
			w.ended[name] = u.ID
			if err = s.ended(name, u); err == nil && failed(u) {
				w.failure = fmt.Errorf("the update of %s to %s has failed", oneLine(name), oneLine(orNone(u.To)))
			}
		}
		if err != nil {
			return going, err
		}
	}
	return going, nil
}
