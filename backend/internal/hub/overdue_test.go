package hub_test

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// TestOverdue: a device whose update should have been over is broken, by the hub's own clock, also if it has gone
// meanwhile or says something else, until it reports an end or a later time; then its state is its own again.
func TestOverdue(t *testing.T) {
	t.Parallel()
	h := startWith(t, openStore(t, t.TempDir()), hub.Config{Grace: time.Millisecond})
	for _, id := range []string{"ends", "goes on", "in time"} {
		id := strings.ReplaceAll(id, " ", "-")
		h.create(t, id)
		d := h.mustConnect(t, connection{id: id})
		d.subscribe(t, iothub.TopicTwinResponses)
		report := func(text string) {
			t.Helper()
			d.publish(t, iothub.TopicReported+"1", 0, text)
			if topic, body := d.receive(t); !strings.Contains(topic, "/204/") {
				t.Fatal(topic, body)
			}
		}
		state := func() any {
			got, err := h.owner.Twin(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return got.Properties.Reported["state"]
		}
		at := func(in time.Duration) string { return time.Now().Add(in).UTC().Format(time.RFC3339) }
		going := func(until string) string {
			return `{"components": {"application/x": {"stale": true, "update": {"id": "u", "phase": "execution", "unavailableUntil": "` + until + `"}}}}`
		}
		report(`{"state": "updating"}`)
		switch id {
		case "in-time":
			report(going(at(time.Hour)))
			if state() != "updating" {
				t.Error(state())
			}
			continue
		case "goes-on":
			report(going(at(-time.Minute)))
			eventually(t, "it is broken", func() bool { return state() == "malfunction" })
			report(going(at(time.Hour)))
			if state() != "updating" {
				t.Error(state())
			}
			continue
		}
		report(going(at(-time.Minute)))
		eventually(t, "it is broken", func() bool { return state() == "malfunction" })
		report(`{"lwm2m": {"3": {"0": {"9": {"value": 7}}}}}`)
		report(`{"state": "offline"}`)
		if state() != "malfunction" {
			t.Error(state())
		}
		report(`{"components": {"application/x": {"stale": false, "update": {"unavailableUntil": null, "result": "updated"}}}}`)
		if state() != "offline" { // by its own words
			t.Error(state())
		}
		report(`{"state": "online"}`)
	}
	if err := h.owner.DeleteDevice(t.Context(), "ends"); err != nil { // the last event
		t.Fatal(err)
	}
	var told []string
	for event := range h.follow(t, "ends", "") {
		if event.Type == iothub.EventDeviceDeleted {
			break
		}
		if strings.HasPrefix(event.Type, "update") {
			told = append(told, event.Type)
		}
	}
	if diff := cmp.Diff([]string{"updateStarted", "updateOverdue", "updateFinished"}, told); diff != "" {
		t.Error(diff)
	}
}

// TestOverdueAndFull: a device that fills its twin is broken all the same, applications hear of it, and what it
// reports is taken on.
func TestOverdueAndFull(t *testing.T) {
	t.Parallel()
	h := startWith(t, openStore(t, t.TempDir()), hub.Config{Grace: time.Millisecond})
	h.create(t, "full")
	d := h.mustConnect(t, connection{id: "full"})
	d.subscribe(t, iothub.TopicTwinResponses)
	report := func(text string) bool {
		t.Helper()
		d.publish(t, iothub.TopicReported+"1", 0, text)
		topic, _ := d.receive(t)
		return strings.Contains(topic, "/204/")
	}
	for i := range 8 {
		if !report(fmt.Sprintf(`{"pad%d": %q}`, i, strings.Repeat("x", 4000))) {
			t.Fatal("it is full too soon")
		}
	}
	const going = `{"components": {"application/x": {"update": {"id": "u", "phase": "execution", "unavailableUntil": "2020-01-01T00:00:00Z"}}}, "fill": %q}`
	most := sort.Search(1000, func(n int) bool { return !report(fmt.Sprintf(`{"fill": %q}`, strings.Repeat("x", n+150))) })
	for !report(fmt.Sprintf(going, strings.Repeat("x", most))) {
		most--
	}
	for event := range h.follow(t, "full", "") {
		if event.Type == iothub.EventUpdateOverdue {
			break
		}
	}
	if !report(`{"components": {"application/x": {"update": {"id": "v"}}}}`) {
		t.Error("what it reports is refused")
	}
}
