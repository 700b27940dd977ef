package engine

import (
	"errors"
	"strings"
	"testing"
)

// TestFullDiskIsNamed: a component that cannot start, or is not well, on a full
// disk is said to; also if there is room again when the update turns back.
func TestFullDiskIsNamed(t *testing.T) {
	p := build(t, "2s") // a probe has to be answered, also on a busy machine
	for _, failAt := range []string{"start2.0.0", "probe2.0.0"} {
		for _, mended := range []bool{false, true} {
			w, e := newWorld(t, p)
			full := errors.New("the disk is full")
			e.Short = func(c string) error {
				if c != component {
					t.Errorf("asked for the disk of %q", c)
				}
				now := full
				if mended {
					full = nil
				}
				return now
			}
			w.set(func() { w.failAt = failAt })
			o, err := w.update(t, e, "2.0.0")
			if err != nil || o.Result != TurnedBack || !strings.Contains(o.Cause, "boom") || !strings.Contains(o.Cause, "the disk is full") {
				t.Errorf("%s, mended %v: %+v, %v", failAt, mended, o, err)
			}
			w.check(t, o)
		}
	}
}
