package systemd

import (
	"errors"
	"testing"
)

// What systemd 252 says of a kill that comes too late, and of one that fails.
func TestGone(t *testing.T) {
	for text, want := range map[string]bool{
		"Unit a.service not loaded.": true,
		"No main process to kill":    true,
		"Failed to send signal SIGKILL to auxiliary processes: No such device":          true,
		"Failed to send signal SIGKILL to auxiliary processes: Operation not permitted": false,
	} {
		if got := gone(errors.New(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
