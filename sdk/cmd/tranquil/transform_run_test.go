package main

import (
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// The log is shown if it says more than the reason does.
func TestWithLog(t *testing.T) {
	for log, want := range map[string]bool{
		"":                            false,
		"no rate":                     false,
		"state refused: no rate":      false,
		"read 5 lines\nno rate":       true,
		"state refused: no rate at 5": true,
	} {
		err := withLog(&host.Error{Class: host.Refused, Reason: "no rate", Log: log})
		if got := strings.Contains(err.Error(), "its log:"); got != want {
			t.Errorf("%q: shown: %v, %v", log, got, err)
		}
	}
}
