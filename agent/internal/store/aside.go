package store

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// Fault returns why no update may start until a repair; "" if nothing is
// wrong.
func (s *Store) Fault() (text string, err error) {
	_, err = s.get(faultKey, &text)
	return text, err
}

// SetFault writes down why no update may start.
func (s *Store) SetFault(text string) error { return s.write(put(faultKey, text)) }

// Repaired returns the number of the last repair that was asked for and has
// ended; 0 if there was none.
func (s *Store) Repaired() (number int64, err error) {
	_, err = s.get(repairedKey, &number)
	return number, err
}

// Mended returns the number of the last repair of a component that was asked
// for from afar and has ended; its outcome was written with it.
func (s *Store) Mended(component string) (number int64, err error) {
	_, err = s.get(mendedKey+component, &number)
	return number, err
}

// SetRepaired writes down the number of a repair that has ended.
func (s *Store) SetRepaired(number int64) error { return s.write(put(repairedKey, number)) }

// SetAside forgets the journal of these components, whatever else of them
// cannot be read, and the fault. Before, all that the store holds is written
// to a file, whose path it returns: as many are kept as of damaged stores.
func (s *Store) SetAside(components []string) (kept string, err error) {
	if s.damage.Volatile {
		return "", errVolatile
	}
	if kept, err = s.keep(); err != nil {
		return "", fmt.Errorf("cannot set the journal aside: %w", err)
	}
	changes := []change{remove(faultKey)}
	for _, c := range components {
		changes = append(changes, remove(journalKey+c))
		for _, key := range s.unreadable(c) {
			changes = append(changes, remove(key))
		}
	}
	return kept, s.write(changes...)
}

// unreadable lists what was written by nobody that this agent understands.
func (s *Store) unreadable(component string) (keys []string) {
	for key, v := range map[string]any{
		installedKey + component: new(engine.Installed), wishesKey + component: new(engine.Wishes), outcomeKey + component: new(engine.Outcome),
		waitingKey + component: new([]engine.Outcome), acknowledgedKey + component: new(receipt),
		timingsKey + component: new([]engine.Timing), deferralKey + component: new(engine.Deferral),
	} {
		if _, err := s.get(key, v); err != nil {
			keys = append(keys, key)
		}
	}
	return keys
}

func (s *Store) keep() (path string, err error) {
	s.mu.Lock()
	b, err := json.MarshalIndent(s.now, "", "  ")
	s.mu.Unlock()
	dir := s.db.Opts().Dir
	if err == nil {
		path, err = rotate(dir)
	}
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	return path, err
}
