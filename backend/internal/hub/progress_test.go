package hub_test

import (
	stdcmp "cmp"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// TestProgress: applications are told how updates go, in order and each once, whichever way a device reports.
func TestProgress(t *testing.T) {
	t.Parallel()
	const (
		goes = `{"components": {"application/x": {"version": "1.0.0", "update": {"id": "u1", "to": "2.0.0", "phase": "preparation", "step": "download", "progress": 0.1}}}}`
		more = `{"components": {"application/x": {"update": {"step": "stage", "progress": 0.4}}}}`
		away = `{"components": {"application/x": {"stale": true, "update": {"unavailableUntil": "2026-11-30T12:00:00Z"}}}}`
		runs = `{"components": {"application/x": {"update": {"phase": "execution", "step": "stop"}}}}`
		ends = `{"components": {"application/x": {"stale": false, "update": {"phase": null, "result": "updated", "downtime": 2}, "outcome": {"id": "u1", "from": "1.0.0", "to": "2.0.0", "result": "updated", "downtime": 2}}}}`
		end  = `{"components": {"application/x": {"update": {"result": "turned back", "cause": "never healthy"}}}}`
		late = `{"components": {"application/x": {"outcome": {"id": "u1", "from": "1.0.0", "result": "turned back", "cause": "never healthy"}}}}`
		last = `{"components": {"application/x": {"stale": true, "update": {"phase": "transformation", "step": "clean", "result": null}}}}`
		next = `{"components": {"application/x": {"outcome": {"id": "u2", "result": "inconsistent"}, "update": {"id": "u3", "result": null, "phase": "request"}}}}`
	)
	for name, test := range map[string]struct {
		reports []string
		want    []string
		history string
	}{
		"to its end":                    {[]string{goes, more, away, runs, ends, ends}, []string{"updateStarted u1 preparation", "updatePhase u1 preparation", "updatePhase u1 execution", "updateFinished u1 updated"}, "u1"},
		"with an old report after it":   {[]string{goes, runs, ends, last, ends}, []string{"updateStarted u1 preparation", "updatePhase u1 execution", "updateFinished u1 updated"}, "u1"},
		"its end, then its outcome":     {[]string{goes, end, late, late}, []string{"updateStarted u1 preparation", "updateFailed u1 turned back"}, "u1"},
		"of one that was cut off":       {[]string{ends, next}, []string{"updateFinished u1 updated", "updateFailed u2 inconsistent", "updateStarted u3 request"}, "u2 u1"},
		"of what cannot be understood":  {[]string{`{"components": {"application/x": {"update": 7}}}`, `{"components": 7}`, `{"components": {"application/x": {"update": {"id": 1}}}}`, goes}, []string{"updateStarted u1 preparation"}, ""},
		"of two components, and itself": {[]string{`{"components": {"b/y": {"update": {"id": "v", "phase": "request"}}, "a/x": {"update": {"id": "w", "phase": "request"}}}}`, `{"state": "online"}`}, []string{"updateStarted w request", "updateStarted v request"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, t.TempDir())
			h.create(t, "dev1")
			d := h.mustConnect(t, connection{id: "dev1"})
			d.subscribe(t, iothub.TopicTwinResponses)
			for _, r := range test.reports {
				d.publish(t, iothub.TopicReported+"1", 0, r)
				if topic, body := d.receive(t); !strings.Contains(topic, "/204/") {
					t.Fatal(topic, body)
				}
			}
			history, err := h.owner.History(t.Context(), "dev1")
			if err != nil {
				t.Fatal(err)
			}
			var ended []string
			for _, o := range history.Outcomes {
				ended = append(ended, o.ID)
			}
			if got := strings.Join(ended, " "); got != test.history || !history.Since.IsZero() {
				t.Errorf("the history has %s since %v, not %s", got, history.Since, test.history)
			}
			if err := h.owner.DeleteDevice(t.Context(), "dev1"); err != nil { // the last event
				t.Fatal(err)
			}
			var told []string
			for event := range h.follow(t, "", "") {
				if event.Type == iothub.EventDeviceDeleted {
					break
				}
				if !strings.HasPrefix(event.Type, "update") {
					continue
				}
				var u iothub.UpdateEvent
				if err := json.Unmarshal(event.Body, &u); err != nil {
					t.Fatal(err)
				}
				told = append(told, event.Type+" "+u.ID+" "+stdcmp.Or(u.Result, u.Phase))
			}
			if diff := cmp.Diff(test.want, told); diff != "" {
				t.Error(diff)
			}
		})
	}
}
