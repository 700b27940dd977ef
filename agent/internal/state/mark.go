package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A Mark says whose state the live one of a component is. It lies beside the
// generations, so that it is known also when the journal is lost: a version
// must never start on the state of another one.
type Mark struct {
	Live Holder `json:"live"` // the version that the live state is of; zero: it is not known
	// While a generation is being handed over, and until the version that it is
	// for has started, the live state may still be Live's or already Next's.
	Next       *Holder    `json:"next,omitempty"`
	Generation Generation `json:"generation,omitempty"`
}

// A Holder is a version that holds a state.
type Holder struct {
	Version string         `json:"version"`
	Schema  int            `json:"schema"`
	Package string         `json:"package,omitempty"` // digest of the manifest
	Handle  updater.Handle `json:"handle,omitzero"`
}

const markName = "live.json"

// A savedMark is a mark on the disk.
type savedMark struct {
	Mark
	Component string `json:"component,omitempty"` // older agents do not say it
}

// SetMark writes a mark durably. If the disk takes none there is none
// afterwards, which is better than a wrong one.
func (m *Manager) SetMark(component string, mark Mark) error {
	dir, err := m.home(component)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, markName)
	if err = os.MkdirAll(dir, 0o700); err == nil {
		err = writeChecked(name, savedMark{mark, component})
	}
	if err == nil {
		return nil
	}
	gone := os.Remove(name)
	if errors.Is(gone, os.ErrNotExist) || gone == nil && durable.Sync(dir) == nil {
		return nil
	}
	return fmt.Errorf("cannot note whose state %s has: %w", component, err)
}

// Mark reads the mark. One that is damaged, or another component's, is none.
func (m *Manager) Mark(component string) (mark Mark, found bool) {
	dir, err := m.home(component)
	var s savedMark
	if err != nil || readChecked(filepath.Join(dir, markName), &s) != nil {
		return Mark{}, false
	}
	if s.Component != "" && s.Component != component {
		return Mark{}, false
	}
	return s.Mark, true
}
