package rauc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A note is what the updater remembers of the device, in one file, which must be
// where all slots find it.
type note struct {
	Component string             `json:"component"`
	Current   string             `json:"current"`             // the slot that the device is to run
	Slots     map[string]content `json:"slots"`               // what is in them
	Trial     *trial             `json:"trial,omitempty"`     // what the boot loader was told to boot, until that is seen
	Writing   bool               `json:"writing,omitempty"`   // RAUC may be writing a slot, or may have
	Abandoned string             `json:"abandoned,omitempty"` // the last version that a boot loader went back from
}

// content is what was put into a slot. The one that the device had before the
// first version has no ID.
type content struct {
	ID       string          `json:"id,omitempty"` // VERSION-DIGEST
	Version  string          `json:"version,omitempty"`
	Settings json.RawMessage `json:"settings,omitempty"`
	Stamp    string          `json:"stamp"`            // of the slot: another one means another content
	Proven   bool            `json:"proven,omitempty"` // it was confirmed
}

// A trial is a slot that is to be booted, and the boot in which that was said.
type trial struct {
	Slot string `json:"slot"`
	Boot string `json:"boot"`
}

const noteFile = "slots.json"

func readNote(dir string) (n note, err error) {
	data, err := os.ReadFile(filepath.Join(dir, noteFile))
	if err == nil {
		err = json.Unmarshal(data, &n)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n, fmt.Errorf("cannot tell what is in the slots: %w", err)
	}
	if n.Slots == nil {
		n.Slots = map[string]content{}
	}
	return n, nil
}

func (n note) write(dir string) error {
	data, err := json.Marshal(n)
	if err == nil {
		err = disk.WriteFile(filepath.Join(dir, noteFile), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot note what is in the slots: %w", err)
	}
	return nil
}

// A reference is what a handle holds: a content, and the slot that it is in.
type reference struct {
	Slot string `json:"slot"`
	ID   string `json:"id"`
}

const handleVersion = 1

func (r reference) handle() updater.Handle {
	data, _ := json.Marshal(r) // two strings
	return updater.Handle{Version: handleVersion, Data: data}
}

func parseHandle(h updater.Handle) (r reference, err error) {
	if h.Version == handleVersion {
		err = json.Unmarshal(h.Data, &r)
	}
	if err != nil || r.ID == "" {
		return r, fmt.Errorf("handle of format %d is not this updater's: stage the version again", h.Version)
	}
	return r, nil
}
