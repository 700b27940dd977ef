package engine

import (
	"errors"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// ErrNewer says that a newer agent has written the journal. It stays as it is.
var ErrNewer = errors.New("a newer agent began this update: install that agent again")

// Retry is an error of a step that may succeed if it is done again.
type Retry struct {
	After time.Duration
	Err   error
}

func (r Retry) Error() string { return r.Err.Error() }
func (r Retry) Unwrap() error { return r.Err }

// passing reports whether the same may succeed if it is done again.
func passing(err error) bool {
	var r Retry
	return errors.As(err, &r) || errors.Is(err, updater.ErrRetry)
}
