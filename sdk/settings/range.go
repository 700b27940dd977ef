package settings

import (
	"fmt"
	"strings"
)

// Bytes wants a size from low to high.
func Bytes(size, low, high int64) error {
	if size < low || size > high {
		return fmt.Errorf("%d bytes is not between %s and %s", size, bytes(low), bytes(high))
	}
	return nil
}

// Within wants a duration from low to high.
func Within(d, low, high Duration) error {
	if d < low || d > high {
		return fmt.Errorf("%v is not between %s and %s", d, brief(low), brief(high))
	}
	return nil
}

// bytes writes a size as in "65536 (64 KiB)".
func bytes(size int64) string {
	whole, unit := size, ""
	for _, larger := range []string{" KiB", " MiB", " GiB", " TiB"} {
		if whole == 0 || whole%1024 != 0 {
			break
		}
		whole, unit = whole/1024, larger
	}
	if unit == "" {
		return fmt.Sprint(size)
	}
	return fmt.Sprintf("%d (%d%s)", size, whole, unit)
}

// brief writes a duration without the zeros at its end.
func brief(d Duration) string {
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}
