package hub

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/reported"
)

// progress says what a change of the reported properties means for updates of components, so that applications need not
// compare twins. A device reports how far an update is, and its outcome at the end; one that was cut off reports outcomes
// alone, one after the other.
func progress(changed twin.Event, before, after, patch map[string]any) ([]twin.Event, error) {
	named, _ := patch["components"].(map[string]any)
	var events []twin.Event
	for _, name := range slices.Sorted(maps.Keys(named)) {
		fields, _ := named[name].(map[string]any)
		if fields["update"] == nil && fields["outcome"] == nil {
			continue
		}
		was, is := updatesOf(before, name), updatesOf(after, name)
		for _, h := range happened(was, is) {
			body, err := json.Marshal(iothub.UpdateEvent{Component: name, Outcome: h.what})
			if err != nil {
				return nil, err
			}
			events = append(events, twin.Event{Type: h.kind, Device: changed.Device, Time: changed.Time, Body: body})
		}
	}
	return events, nil
}

// updates are what a component reports of its updates; what is not understood is nobody's progress.
type updates struct {
	Update  reported.Update  `json:"update"`
	Outcome reported.Outcome `json:"outcome"`
}

func updatesOf(properties map[string]any, component string) (u updates) {
	components, _ := properties["components"].(map[string]any)
	fields, _ := components[component].(map[string]any)
	if reported.Decode(map[string]any{"update": fields["update"], "outcome": fields["outcome"]}, &u) != nil {
		return updates{}
	}
	return u
}

// A happening is what there is to tell.
type happening struct {
	kind string
	what reported.Outcome
}

// happened compares what a component reports with what it reported before.
func happened(was, is updates) (all []happening) {
	if o := is.Outcome; ended(o.Update) && !same(was.Outcome.Update, o.Update) && !same(was.Update, o.Update) {
		all = append(all, ending(o))
	}
	u := is.Update
	switch {
	case ended(u) && !same(was.Update, u) && !same(was.Outcome.Update, u) && !same(is.Outcome.Update, u):
		all = append(all, ending(reported.Outcome{Update: u}))
	case is.Outcome.ID == u.ID && ended(is.Outcome.Update): // a report that was under way when the outcome came
	case u.Going() && (was.Update.ID != u.ID || !was.Update.Going()):
		all = append(all, happening{twin.UpdateStarted, reported.Outcome{Update: u}})
	case u.Going() && furtherThan(was.Update, u):
		all = append(all, happening{twin.UpdatePhase, reported.Outcome{Update: u}})
	}
	return all
}

func ended(u reported.Update) bool { return u.ID != "" && u.Result != "" }

// same tells whether both are the end of one update.
func same(a, b reported.Update) bool { return a.ID == b.ID && a.Result == b.Result }

func ending(o reported.Outcome) happening {
	if o.Failed() {
		return happening{twin.UpdateFailed, o}
	}
	return happening{twin.UpdateFinished, o}
}

// furtherThan tells whether people would say that something has changed: steps and per cent are in the twin.
func furtherThan(a, b reported.Update) bool {
	later := (a.Until == nil) != (b.Until == nil) || a.Until != nil && !a.Until.Equal(*b.Until)
	return later || a.Phase != b.Phase || a.Back != b.Back || a.For != b.For
}
