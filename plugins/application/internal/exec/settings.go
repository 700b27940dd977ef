package exec

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/plugins/application/internal/systemd"
	"github.com/tranquil-iot/tranquil/plugins/internal/service"
)

// Settings are what the component manifest's "settings" hold for this type.
type Settings struct {
	Command  []string          `json:"command"`            // program and arguments; run in the version's directory
	Env      map[string]string `json:"env,omitempty"`      // besides the TRANQUIL_ ones
	State    string            `json:"state,omitempty"`    // "directory" (default), "handover" or "commands"
	Commands *service.Commands `json:"commands,omitempty"` // for that state only
	Health   Health            `json:"health,omitzero"`    // none: healthy while it runs
	Grace    service.Duration  `json:"grace,omitempty"`    // from SIGTERM to SIGKILL; default 10s

	Driver    string              `json:"driver,omitempty"`    // "exec" (default) or "systemd", which alone has what follows
	Unit      systemd.Options     `json:"unit,omitempty"`      // options of systemd, by section and name
	Processes map[string][]string `json:"processes,omitempty"` // further commands, by name
	Boot      bool                `json:"boot,omitempty"`      // it runs after a boot before the agent does
}

const (
	driverExec    = "exec"
	driverSystemd = "systemd"
)

// How the state changes hands: as the directory it is kept in, by asking the
// component over its control socket, or by programs that know where it is.
const (
	stateDirectory = "directory"
	stateHandover  = "handover"
	stateCommands  = "commands"
)

// Health says how to find out whether the component is well. At most one field
// is set.
type Health struct {
	HTTP    string   `json:"http,omitempty"`    // path on the control socket, or http:// URL; 2xx is well
	Command []string `json:"command,omitempty"` // run in the version's directory; exit 0 is well
	File    string   `json:"file,omitempty"`    // in the version's directory; well once the component has made it
}

// defaults are what counts where the settings say nothing.
func defaults() Settings {
	return Settings{Driver: driverExec, State: stateDirectory, Grace: service.Duration(service.DefaultGrace)}
}

// readSettings reads those of a version that was judged when it was staged.
func readSettings(data []byte) (Settings, error) {
	s := defaults()
	err := service.Read(data, &s)
	return s, err
}

// parseSettings judges those of a new version.
func parseSettings(data []byte) (Settings, error) {
	s := defaults()
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
	switch s.State {
	case stateDirectory, stateHandover, stateCommands:
	default:
		return fmt.Errorf(`state is %q, must be "directory", "handover" or "commands"`, s.State)
	}
	if (s.State == stateCommands) != (s.Commands != nil) {
		return errors.New(`commands and state = "commands" go together: give both or neither`)
	}
	return errors.Join(s.checkDriver(), s.Commands.Check(), service.CheckGrace(s.Grace), service.CheckEnv(s.Env), s.Health.check())
}

// programs are the commands that must be there when the version is.
func (s Settings) programs() [][]string {
	all := append([][]string{s.Command}, slices.Collect(maps.Values(s.Processes))...)
	if s.Commands != nil {
		all = append(all, s.Commands.Save, s.Commands.Apply)
	}
	return all
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
