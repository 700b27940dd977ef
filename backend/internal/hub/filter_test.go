package hub

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

func TestFilters(t *testing.T) {
	t.Parallel()
	event := twin.Event{Type: "telemetry", Device: "d%+#"}
	if got := eventTopic(event); got != "events/d%25%2B%23/telemetry" {
		t.Error(got)
	}
	for topic, matches := range map[string]bool{
		"#": true, "events/#": true, "+/+/+": true, "events/+/telemetry": true, "events/d%25%2B%23/#": true, "events/d%25%2B%23/telemetry/#": true,
		"events": false, "events/+": false, "events/d/#": false, "events/+/+/+": false, "events/+/telemetry/+": false,
	} {
		if f := (filter{Topic: topic}); !f.valid() || f.matches(eventTopic(event)) != matches {
			t.Errorf("%s: valid %v, matches %v", topic, f.valid(), !matches)
		}
	}
	for _, topic := range []string{"", "devices/#", "events/#/x", "events/a+", "events/x#", "$events/#", "events/\x00"} {
		if (filter{Topic: topic}).valid() {
			t.Errorf("%q is valid", topic)
		}
	}
}

// TestPosition: whatever is acknowledged in whatever order, nothing counts as dealt with before all before it is.
func TestPosition(t *testing.T) {
	t.Parallel()
	var p position
	open, id := map[uint64]bool{}, map[uint16]uint64{}
	for sequence := uint64(1); sequence < 5000; sequence++ {
		if rand.IntN(3) == 0 {
			p.skip(sequence)
		} else {
			n := p.send(sequence)
			if id[n] != 0 {
				t.Fatal("a packet id is on the way twice")
			}
			open[sequence], id[n] = true, sequence
		}
		for n, s := range id {
			if len(open) < 40 && rand.IntN(4) > 0 {
				break
			}
			if !p.acknowledge(n) || p.acknowledge(n) {
				t.Fatal("an acknowledgement does not count, or twice")
			}
			delete(open, s)
			delete(id, n)
		}
		for s := range open {
			if s <= p.done {
				t.Fatalf("%d is dealt with, and %d on the way", p.done, s)
			}
		}
		if len(open) == 0 && p.done != sequence || len(p.flying) > 2*len(open)+1 {
			t.Fatalf("at %d: done %d, %d on the way, %d kept", sequence, p.done, len(open), len(p.flying))
		}
	}
	if p.acknowledge(0) || p.acknowledge(12345) {
		t.Error("what was not sent is acknowledged")
	}
}

// FuzzFilter: what an application subscribes to cannot hurt, and "#" has it all.
func FuzzFilter(f *testing.F) {
	f.Add("events/+/#", "dev", "telemetry")
	f.Add("+/a%2B/+", "a+", "x")
	f.Fuzz(func(t *testing.T, topic, device, kind string) {
		e := eventTopic(twin.Event{Device: device, Type: kind})
		if wanted := (filter{Topic: topic}); wanted.valid() && wanted.matches(e) && topic != e && !strings.ContainsAny(topic, "+#") {
			t.Errorf("%q matches %q", topic, e)
		}
		if all := (filter{Topic: "#"}); !all.valid() || !all.matches(e) {
			t.Errorf("%q is not in all", e)
		}
	})
}
