package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// patience is how long a device that is online has for taking back a refusal
// that an earlier wish had.
const patience = 2 * lookInterval

// A watch follows a device until it has answered one wish.
type watch struct {
	*updateCmd
	last    updateReport // the device's last update before the wish
	refusal string       // the cause for which an earlier wish was refused
	patient time.Time    // until when that may be old news
	follower
	teller
}

// run prints what happens, step by step. It returns nil when the device has
// what was wished for.
func (w *watch) run(s *session, hub *iothub.Client) error {
	ctx, cancel := context.WithTimeout(s.ctx, w.Timeout)
	defer cancel()
	w.begin(ctx, hub, w.ID)
	defer w.clear()
	if w.patient = time.Now().Add(patience); w.refusal != "" {
		fmt.Fprintf(s.err, "%s has refused a wish before, and says so still: %s\n", w.ID, oneLine(w.refusal))
	}
	for {
		if done, err := w.look(s); done {
			return err
		}
		err := w.next()
		switch {
		case s.ctx.Err() != nil:
			return errors.New("interrupted; the wish stays")
		case ctx.Err() != nil:
			return fmt.Errorf("no answer of %s within %v; the wish stays: tranquil events %[1]s", w.ID, w.Timeout)
		case err != nil:
			return err
		}
	}
}

// look prints what is new, and tells whether the wish is answered.
func (w *watch) look(s *session) (done bool, err error) {
	report, err := decodeReport(w.twin.Properties.Reported)
	if err != nil {
		return true, err
	}
	cause := report.Refused["components/"+w.Component]
	if cause != "" && cause != w.refusal {
		return true, fmt.Errorf("%s refused the wish: %s", w.ID, oneLine(cause))
	}
	u := report.last(w.Component)
	if !w.answers(u) {
		if cause != "" && report.State != "offline" && time.Now().After(w.patient) {
			return true, fmt.Errorf("%s refuses the wish still: %s", w.ID, oneLine(cause))
		}
		return false, nil
	}
	if u.Result != "" {
		return true, w.conclude(s, u)
	}
	return false, w.say(s, w.Component, u)
}

// answers tells whether u came of this wish: it is a new update, or the one
// that was under way to the same version.
func (w *watch) answers(u updateReport) bool {
	joined := w.last.Result == "" && !w.Again
	return u.To == w.Version && (u.ID != w.last.ID || joined)
}

func (w *watch) conclude(s *session, u updateReport) error {
	w.clear()
	if err := s.ended(w.Component, u); err != nil {
		return err
	}
	if failed(u) {
		return fmt.Errorf("%s has not updated %s to %s", w.ID, w.Component, orNone(w.Version))
	}
	return nil
}
