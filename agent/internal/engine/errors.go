package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// ErrNewer says that a newer agent has written the journal. It stays as it is.
var ErrNewer = errors.New("a newer agent began this update: install that agent again")

// Readable returns why the engine cannot go on from a record.
func (e *Engine) Readable(r Record) error {
	_, err := r.at(e.steps())
	return err
}

// at finds the place of a record in the list of steps.
func (r Record) at(steps []Step) (int, error) {
	if r.Format > RecordFormat {
		return 0, fmt.Errorf("cannot read journal of format %d, only up to %d: %w", r.Format, RecordFormat, ErrNewer)
	}
	at := slices.IndexFunc(steps, func(s Step) bool { return s.Name == r.Step })
	if at < 0 {
		return 0, fmt.Errorf("cannot go on at unknown step %q: %w", r.Step, ErrNewer)
	}
	return at, nil
}

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

// lasting reports whether a transform failed in a way that another snapshot of
// the same state will not mend: a limit costs minutes each time it is run into.
func lasting(err error) bool {
	e, is := errors.AsType[*host.Error](err)
	return is && slices.Contains([]host.Class{host.BadModule, host.Deadline, host.OutputLimit, host.ResourceLimit}, e.Class)
}
