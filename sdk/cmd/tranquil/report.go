package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// A report is the part of a device's reported properties that people ask for.
type report struct {
	State      string                     `json:"state"`
	Components map[string]componentReport `json:"components"`
	Refused    map[string]string          `json:"refused"`
}

type componentReport struct {
	Version string        `json:"version"`
	Schema  int           `json:"schema"`
	Running bool          `json:"running"`
	Stale   bool          `json:"stale"`
	Update  *updateReport `json:"update"`
}

type updateReport struct {
	ID       string  `json:"id"`
	To       string  `json:"to"`
	Phase    string  `json:"phase"`
	Step     string  `json:"step"`
	Progress float64 `json:"progress"`
	Result   string  `json:"result"`
	Cause    string  `json:"cause"`
	Downtime any     `json:"downtime"`
}

func decodeReport(reported iothub.Section) (*report, error) {
	b, err := json.Marshal(reported)
	if err != nil {
		return nil, err
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("device reports something this tool does not understand (try --json): %w", err)
	}
	return &r, nil
}

func (r *report) show(w io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(r.Components)) {
		c := r.Components[name]
		fmt.Fprintf(w, "%s\t%s\n", name, c)
		if c.Update != nil {
			fmt.Fprintf(w, "\t%s\n", c.Update)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(w, "refused\t%s: %s\n", path, r.Refused[path])
	}
}

// String tells what runs: "1.4.0, schema 1, running, stale".
func (c componentReport) String() string {
	words := []string{c.Version}
	if c.Version == "" {
		words[0] = "not installed"
	}
	if c.Schema > 0 {
		words = append(words, fmt.Sprintf("schema %d", c.Schema))
	}
	if c.Running {
		words = append(words, "running")
	}
	if c.Stale {
		words = append(words, "stale")
	}
	return strings.Join(words, ", ")
}

// String tells how an update goes or went.
func (u updateReport) String() string {
	if u.Result == "" {
		return fmt.Sprintf("to %s: %s, %s, %.0f %%", u.To, u.Phase, u.Step, 100*u.Progress)
	}
	line := fmt.Sprintf("to %s: %s", u.To, u.Result)
	if u.Cause != "" {
		line += ": " + u.Cause
	}
	return line
}
