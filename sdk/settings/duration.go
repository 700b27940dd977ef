package settings

import (
	"fmt"
	"time"
)

// A Duration is a time.Duration that is written as text with its units, as in
// "1m30s".
type Duration time.Duration

// MarshalText writes d as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String writes d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf(`%.80q is no duration: write numbers with their units, as in "500ms", "2s" or "1m30s"`, b)
	}
	*d = Duration(v)
	return nil
}
