package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// A legible writer writes what servers and devices say without what would command a
// terminal, so that they can neither hide nor change what people read.
type legible struct{ io.Writer }

func (l legible) Write(b []byte) (int, error) {
	if _, err := io.WriteString(l.Writer, harmless(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// harmless has control characters, and those that turn the direction of writing, show
// as what they are. Lines and tabs stay.
func harmless(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || r == '\t':
			out.WriteRune(r)
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			fmt.Fprintf(&out, "\\u%04x", r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
