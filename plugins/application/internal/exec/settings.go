package exec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
)

// Settings are what the component manifest's "settings" hold for this type.
type Settings struct {
	Command []string          `json:"command"`         // program and arguments; run in the version's directory
	Env     map[string]string `json:"env,omitempty"`   // besides the TRANQUIL_ ones
	State   string            `json:"state,omitempty"` // "directory" (default) or "handover"
	Health  Health            `json:"health,omitzero"` // none: healthy while it runs
	Grace   service.Duration  `json:"grace,omitempty"` // from SIGTERM to SIGKILL; default 10s
}

// How the state changes hands: as the directory it is kept in, or by asking
// the component over its control socket.
const (
	stateDirectory = "directory"
	stateHandover  = "handover"
)

// Health says how to find out whether the component is well. At most one field
// is set.
type Health struct {
	HTTP    string   `json:"http,omitempty"`    // path on the control socket, or http:// URL; 2xx is well
	Command []string `json:"command,omitempty"` // run in the version's directory; exit 0 is well
	File    string   `json:"file,omitempty"`    // in the version's directory; well once the component has made it
}

func parseSettings(data []byte) (Settings, error) {
	s := Settings{State: stateDirectory, Grace: service.Duration(service.DefaultGrace)}
	err := service.Decode(data, &s)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return Settings{}, fmt.Errorf("bad application settings: %w", err)
	}
	return s, nil
}

func (s Settings) check() error {
	if err := service.CheckCommand("command", s.Command); err != nil {
		return err
	}
	if s.State != stateDirectory && s.State != stateHandover {
		return fmt.Errorf(`state is %q, must be "directory" or "handover"`, s.State)
	}
	return errors.Join(service.CheckGrace(s.Grace), service.CheckEnv(s.Env), s.Health.check())
}

func (h Health) check() error {
	kinds := 0
	for _, set := range []bool{h.HTTP != "", h.Command != nil, h.File != ""} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return errors.New("health has several kinds: choose one of http, command and file")
	case h.HTTP != "":
		return service.CheckHTTP(h.HTTP)
	case h.Command != nil:
		return service.CheckCommand("health.command", h.Command)
	case h.File != "" && !filepath.IsLocal(h.File):
		return fmt.Errorf("health.file %q is not a path within the version's directory", h.File)
	}
	return nil
}

// checkProgram refuses a command that cannot be started in the unpacked
// version dir. Names without a slash and absolute ones are the device's own
// programs; they are looked for when they are started.
func checkProgram(dir, program string) error {
	if filepath.IsAbs(program) || !strings.Contains(program, "/") {
		return nil
	}
	info, err := os.Stat(filepath.Join(dir, program))
	switch {
	case errors.Is(err, fs.ErrNotExist) || !filepath.IsLocal(program):
		return fmt.Errorf("command %q is not in the artifact", program)
	case err != nil:
		return fmt.Errorf("cannot look at command %q: %w", program, err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("command %q is not an executable file: set its x permission in the artifact", program)
	}
	return nil
}
