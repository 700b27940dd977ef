package store

import (
	"fmt"

	"github.com/tranquil-iot/tranquil/sdk/component"
)

const readingKey = "reading/" // and the component, object and instance

// Readings returns the readings that were kept.
func (s *Store) Readings() (all []component.Reading, err error) {
	keys, err := s.list(readingKey)
	for _, key := range keys {
		var r component.Reading
		if _, err := s.get(readingKey+key, &r); err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, err
}

// KeepReadings keeps readings, each in place of the one of the same sensor.
func (s *Store) KeepReadings(readings []component.Reading) error {
	var changes []change
	for _, r := range readings {
		changes = append(changes, put(fmt.Sprintf("%s%s/%d/%d", readingKey, r.Component, r.Object, r.Instance), r))
	}
	return s.write(changes...)
}

// ForgetReadings removes the readings of a component.
func (s *Store) ForgetReadings(name string) error {
	keys, err := s.list(readingKey + name + "/")
	var changes []change
	for _, key := range keys {
		changes = append(changes, remove(readingKey+name+"/"+key))
	}
	if err != nil || len(changes) == 0 {
		return err
	}
	return s.write(changes...)
}
