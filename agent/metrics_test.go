package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is in a label cannot break the text.
func TestGauge(t *testing.T) {
	var b bytes.Buffer
	g := &gauge{w: &b}
	g.one("a_total", "counter", "How many.", 1234567890, "name", "a \"b\"\\c\nd", "other", "é")
	g.one("b", "gauge", "How much.", 0.25)
	const want = "# HELP a_total How many.\n# TYPE a_total counter\na_total{name=\"a \\\"b\\\"\\\\c\\nd\",other=\"é\"} 1.23456789e+09\n" +
		"# HELP b How much.\n# TYPE b gauge\nb 0.25\n"
	if diff := cmp.Diff(want, b.String()); g.err != nil || diff != "" {
		t.Error(g.err, diff)
	}
	full := &gauge{w: broken{}}
	full.one("b", "gauge", "How much.", 1)
	if full.err == nil {
		t.Error("it does not say that nobody reads")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }
