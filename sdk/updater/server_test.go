package updater

import (
	"context"
	"errors"
	"log/slog"
	"testing"
)

// TestLock: only a component that another call works on is called busy, also by a
// call whose time is up, and such a call is not carried out after a later one.
func TestLock(t *testing.T) {
	s := newServer("application", nil, slog.New(slog.DiscardHandler))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // a choice between two that are ready would be a random one
		if _, err := s.lock(over, "application/a"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	unlock, err := s.lock(t.Context(), "application/a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.lock(over, "application/a"); !errors.Is(err, ErrRetry) {
		t.Errorf("busy: %v", err)
	}
	unlock()
}
