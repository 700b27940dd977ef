package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// lookInterval is how often a watch reads the whole twin: what happened before
// its stream of events began is in no event.
const lookInterval = 2 * time.Second

// patience is how long a device that is online has for taking back a refusal
// that an earlier wish had.
const patience = 2 * lookInterval

// A watch follows a device until it has answered one wish.
type watch struct {
	*updateCmd
	last    updateReport // the device's last update before the wish
	refusal string       // the cause for which an earlier wish was refused
	patient time.Time    // until when that may be old news
	twin    *iothub.Twin // as known so far
	said    string
	told    time.Time // when, and how much was downloaded by then
	bytes   int64
	pause   time.Duration // until it is told again
}

// run prints what happens, step by step. It returns nil when the device has
// what was wished for.
func (w *watch) run(s *session, hub *iothub.Client) error {
	ctx, cancel := context.WithTimeout(s.ctx, w.Timeout)
	defer cancel()
	events := make(chan iothub.Event)
	failed := make(chan error, 1)
	go stream(ctx, hub, w.ID, events, failed)
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	if w.patient = time.Now().Add(patience); w.refusal != "" {
		fmt.Fprintf(s.err, "%s has refused a wish before, and says so still: %s\n", w.ID, oneLine(w.refusal))
	}
	for {
		if done, err := w.look(s); done {
			return err
		}
		var err error
		select {
		case event := <-events:
			err = w.take(ctx, hub, event)
		case <-tick.C:
			err = w.read(ctx, hub)
		case err = <-failed:
		}
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

// stream sends the events of a device until ctx ends or the hub refuses.
func stream(ctx context.Context, hub *iothub.Client, device string, events chan<- iothub.Event, failed chan<- error) {
	for event, err := range hub.Events(ctx, device, "") {
		if err != nil {
			failed <- err
			return
		}
		select {
		case events <- event:
		case <-ctx.Done():
			failed <- ctx.Err()
			return
		}
	}
}

// take brings the twin up to date with an event, or reads it anew if the event
// is not the next.
func (w *watch) take(ctx context.Context, hub *iothub.Client, event iothub.Event) error {
	var change iothub.TwinChange
	if event.Type != iothub.EventTwinChanged || json.Unmarshal(event.Body, &change) != nil || change.Version <= w.twin.Version {
		return nil
	}
	if change.Version > w.twin.Version+1 {
		return w.read(ctx, hub)
	}
	w.twin.Version = change.Version
	w.twin.Properties.Reported = merge(w.twin.Properties.Reported, change.Properties.Reported)
	return nil
}

func (w *watch) read(ctx context.Context, hub *iothub.Client) error {
	twin, err := hub.Twin(ctx, w.ID)
	if err != nil {
		return err
	}
	if twin.Version > w.twin.Version {
		w.twin = twin
	}
	return nil
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
	w.say(s, u)
	return false, nil
}

// answers tells whether u came of this wish: it is a new update, or the one
// that was under way to the same version.
func (w *watch) answers(u updateReport) bool {
	joined := w.last.Result == "" && !w.Again
	return u.To == w.Version && (u.ID != w.last.ID || joined)
}

// say prints a line for each step, and when the component will be back.
func (w *watch) say(s *session, u updateReport) {
	step := fmt.Sprint(u.Phase, u.Step, u.Back, u.Until, u.For, u.ForUntil)
	if step != w.said {
		fmt.Fprintln(s.out, u.going())
		w.said, w.told, w.bytes, w.pause = step, time.Now(), u.Bytes, tellFirst
		return
	}
	if took := time.Since(w.told); u.Bytes > w.bytes && took >= w.pause {
		fmt.Fprintf(s.out, "%s, %s/s\n", u.going(), amount(int64(float64(u.Bytes-w.bytes)/took.Seconds())))
		w.told, w.bytes, w.pause = time.Now(), u.Bytes, min(2*w.pause, tellMost)
	}
}

// How often a download says how far it is: less and less often, since one may
// take a day.
const (
	tellFirst = 3 * time.Second
	tellMost  = time.Minute
)

func (w *watch) conclude(s *session, u updateReport) error {
	fmt.Fprintln(s.out, u.ending())
	if failed(u) {
		return fmt.Errorf("%s has not updated %s to %s", w.ID, w.Component, orNone(w.Version))
	}
	return nil
}

// merge applies a merge patch (RFC 7396) to a document.
func merge(document, patch map[string]any) map[string]any {
	if document == nil {
		document = map[string]any{}
	}
	for key, v := range patch {
		inner, isMap := v.(map[string]any)
		switch {
		case v == nil:
			delete(document, key)
		case isMap:
			old, _ := document[key].(map[string]any)
			document[key] = merge(old, inner)
		default:
			document[key] = v
		}
	}
	return document
}
