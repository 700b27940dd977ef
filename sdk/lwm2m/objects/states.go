package objects

import (
	"encoding/json"
	"fmt"
	"time"
)

// A SavedState is one that a component can go back to.
type SavedState struct {
	Generation uint64    `json:"generation"` // its number
	Version    string    `json:"version"`    // that it was saved from
	Schema     int       `json:"schema"`
	Saved      time.Time `json:"savedAt"`
	Size       int64     `json:"bytes"`
	Damaged    bool      `json:"damaged,omitempty"`
}

// maxStates bounds how many of them are told.
const maxStates = 8

// EncodeStates returns the text of resource ComponentStates: a JSON array, of
// the newest 8, oldest first.
func EncodeStates(all []SavedState) string {
	if len(all) == 0 {
		return ""
	}
	b, _ := json.Marshal(all[max(0, len(all)-maxStates):]) // numbers and strings only
	return string(b)
}

// DecodeStates reads the text of the resource; "" is none.
func DecodeStates(text string) (all []SavedState, err error) {
	if text == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("cannot read saved states: %w", err)
	}
	if len(all) > maxStates {
		return nil, fmt.Errorf("cannot read saved states: there are %d, more than %d", len(all), maxStates)
	}
	return all, nil
}
