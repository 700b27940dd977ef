package rauc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
)

// Settings are what the component manifest's "settings" hold for this type.
type Settings struct {
	Health Health `json:"health,omitzero"`
}

// Health says how to find out whether the firmware is well; without any it is
// as soon as it has booted.
type Health struct {
	Command []string `json:"command,omitempty"` // of the firmware itself; exit 0 is well
}

// readSettings reads those of a version that was judged when it was staged.
func readSettings(data []byte) (s Settings, err error) {
	if len(data) == 0 { // a manifest without any
		return s, nil
	}
	return s, service.Read(data, &s)
}

// parseSettings judges those of a new version.
func parseSettings(data []byte) (s Settings, err error) {
	if len(data) == 0 { // a manifest without any
		return s, nil
	}
	if err = service.Decode(data, &s); err == nil && s.Health.Command != nil {
		err = service.CheckCommand("health.command", s.Health.Command)
	}
	if err != nil {
		return s, fmt.Errorf("bad firmware settings: %w", err)
	}
	return s, nil
}

// File is where the operator writes what the updater may do on this device, as a
// JSON object.
const File = "/etc/tranquil/firmware.json"

// Config is what it may have.
type Config struct {
	// Reboot is the command that reboots the device when a version needs it, as in
	// ["/sbin/reboot"]. Without it the update waits until somebody does.
	Reboot []string `json:"reboot,omitempty"`
}

func readConfig(name string) (c Config, err error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = service.Decode(data, &c)
	}
	if err == nil && c.Reboot != nil {
		err = service.CheckCommand("reboot", c.Reboot)
	}
	if err != nil {
		return c, fmt.Errorf("cannot read what the firmware updater may do: %s: %w", name, err)
	}
	return c, nil
}
