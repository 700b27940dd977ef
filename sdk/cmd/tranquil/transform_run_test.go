package main

import (
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
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

// What the checks do not tell is said as well.
func TestSummarize(t *testing.T) {
	const first = "9 checks on 2 examples; 4 variations, of which "
	for _, test := range []struct {
		result transformtest.Result
		want   string
	}{
		{transformtest.Result{Refused: 2}, first + "2 were refused\n"},
		{transformtest.Result{Refused: 3}, first + "3 were refused\n"},
		{transformtest.Result{Refused: 4}, first + "4 were refused\nover three quarters of the variations were refused, which tests little: give more examples\n"},
		{transformtest.Result{Alone: []string{"a"}}, first + "0 were refused\na: it has a state of one schema only: what comes of it is compared with nothing\n"},
		{transformtest.Result{Binary: true}, first + "0 were refused\nbinary files are not varied: give more examples of them\n"},
		{transformtest.Result{Unchecked: []string{"a"}}, first + "0 were refused\na: lossy both ways and no a/back: what comes back is not checked\n"},
		{transformtest.Result{Skipped: 5, Stopped: "it ran into a limit"}, first + "0 were refused\nstopped there, since it ran into a limit: 5 checks were left out\n"},
		{transformtest.Result{Skipped: 1, Refused: 1, Stopped: "x"}, first + "1 was refused\nstopped there, since x: 1 check was left out\n"},
	} {
		var out strings.Builder
		test.result.Checks, test.result.Variations = 9, 4
		summarize(&out, test.result, 2)
		if out.String() != test.want {
			t.Errorf("%+v: got %s", test.result, &out)
		}
	}
}
