package main

import "testing"

// A bar of several measurements goes from 0 to 100.
func TestPercent(t *testing.T) {
	for _, test := range []struct {
		part, parts int
		done, total int64
		want        int64
	}{{0, 4, 0, 10, 0}, {0, 4, 5, 10, 12}, {1, 4, 0, 10, 25}, {3, 4, 10, 10, 100}, {2, 4, 0, 0, 50}} {
		if got := percent(test.part, test.parts, test.done, test.total); got != test.want {
			t.Errorf("%+v: got %d", test, got)
		}
	}
}
