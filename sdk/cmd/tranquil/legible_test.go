package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestLegible: whoever is at the terminal reads what was said, whatever that is.
func TestLegible(t *testing.T) {
	var out strings.Builder
	fmt.Fprintf(legible{&out}, "%s\n", "a\tü → b\x1b[2J\r\u009b31m\u202egpj.exe")
	if want := "a\tü → b\\u001b[2J\\u000d\\u009b31m\\u202egpj.exe\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
