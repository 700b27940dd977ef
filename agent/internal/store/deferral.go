package store

import "github.com/tranquil-iot/tranquil/agent/internal/engine"

const deferralKey = "deferral/"

// Deferral returns what dependants have said to the last update of a component
// that they were asked about.
func (s *Store) Deferral(component string) (d engine.Deferral, found bool, err error) {
	found, err = s.get(deferralKey+component, &d)
	return d, found, err
}

// SetDeferral keeps it.
func (s *Store) SetDeferral(component string, d engine.Deferral) error {
	return s.write(put(deferralKey+component, d))
}
