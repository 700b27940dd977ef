package store

import (
	"slices"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

const (
	timingsKey = "timings/"
	maxTimings = 8 // of the last updates of a component
)

// Timings returns what the last updates of a component took, oldest first.
func (s *Store) Timings(component string) (all []engine.Timing, err error) {
	_, err = s.get(timingsKey+component, &all)
	return all, err
}

// AddTiming keeps what an update took; of each update one.
func (s *Store) AddTiming(component string, t engine.Timing) error {
	all, err := s.Timings(component)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(old engine.Timing) bool { return old.Update == t.Update })
	all = append(all, t)
	return s.write(put(timingsKey+component, all[max(0, len(all)-maxTimings):]))
}
