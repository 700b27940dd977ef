package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// TestLegible: whoever is at the terminal reads what was said, whatever that is.
func TestLegible(t *testing.T) {
	var out strings.Builder
	fmt.Fprintf(legible{&out}, "%s\n", "a\tü → b\x1b[2J\r\u009b31m\u202egpj.exe")
	if want := "a\tü → b\\u001b[2J\\u000d\\u009b31m\\u202egpj.exe\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// forging is what a device reports that wants to have a line of its own.
const forging = `{"mode": "X", "fault": "X", "refused": {"X": "X"}, "components": {
  "X": {"version": "X", "window": "X", "consent": "X", "check": "X", "dependants": {"X": "X"}, "previous": {"version": "X", "way": "X"},
    "update": {"id": "X", "to": "X", "kind": "X", "phase": "X", "step": "X", "waitingFor": "X"},
    "outcome": {"id": "X", "from": "X", "to": "X", "kind": "X", "result": "X", "cause": "X", "rest": "forced", "restReason": "X", "warnings": "X"}},
  "ended": {"update": {"id": "X", "to": "X", "kind": "X", "result": "X", "cause": "X"}}}}`

// TestNoLineIsForged: whatever a device reports, a line is by the one who prints it.
func TestNoLineIsForged(t *testing.T) {
	var properties map[string]any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(forging, "X", `a\nforged`)), &properties); err != nil {
		t.Fatal(err)
	}
	r, err := decodeReport(properties)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	r.show(&out)
	var history iothub.History
	for name, c := range r.Components {
		if c.Outcome != nil {
			history.Outcomes = append(history.Outcomes, iothub.UpdateEvent{Component: name, Outcome: *c.Outcome})
		}
	}
	s := &session{cli: &cli{}, out: &out}
	if shown, err := new(historyCmd).show(s, &history); err != nil || !shown {
		t.Fatal(shown, err)
	}
	if !strings.Contains(out.String(), "a forged to a forged") {
		t.Errorf("the history is missing:\n%s", out.String())
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(strings.TrimSpace(line), "forged") {
			t.Errorf("a device has forged a line: %q", line)
		}
	}
}
