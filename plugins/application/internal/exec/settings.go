package exec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
)

// Settings are what the component manifest's "settings" hold for this type.
type Settings struct {
	Command []string          `json:"command"`         // program and arguments; run in the version's directory
	Env     map[string]string `json:"env,omitempty"`   // besides the TRANQUIL_ ones
	State   string            `json:"state,omitempty"` // "directory" (default) or "handover"
	Health  Health            `json:"health,omitzero"` // none: healthy while it runs
	Grace   Duration          `json:"grace,omitempty"` // from SIGTERM to SIGKILL; default 10s
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

// Duration is a time.Duration written as in "5s".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// MarshalText writes d as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// parseSettings reads settings and refuses what it does not understand: a
// misspelt name must not show only when the component runs.
func parseSettings(data []byte) (Settings, error) {
	s := Settings{State: stateDirectory, Grace: Duration(service.DefaultGrace)}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&s)
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errors.New("something follows the JSON object")
		}
	}
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return Settings{}, fmt.Errorf("bad application settings: %w", err)
	}
	return s, nil
}

func (s Settings) check() error {
	if err := checkCommand("command", s.Command); err != nil {
		return err
	}
	if s.State != stateDirectory && s.State != stateHandover {
		return fmt.Errorf(`state is %q, must be "directory" or "handover"`, s.State)
	}
	if s.Grace < 0 {
		return fmt.Errorf("grace is negative: %v", time.Duration(s.Grace))
	}
	for key, value := range s.Env {
		if key == "" || strings.ContainsAny(key, "=\x00") || strings.Contains(value, "\x00") {
			return fmt.Errorf("env %q is no valid variable", key)
		}
		if strings.HasPrefix(key, "TRANQUIL_") {
			return fmt.Errorf("env %q: names with TRANQUIL_ are reserved", key)
		}
	}
	return s.Health.check()
}

func checkCommand(field string, command []string) error {
	if len(command) == 0 || command[0] == "" {
		return fmt.Errorf("%s is empty: name the program to run", field)
	}
	if strings.Contains(strings.Join(command, ""), "\x00") {
		return fmt.Errorf("%s has a zero byte", field)
	}
	return nil
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
		return checkURL(h.HTTP)
	case h.Command != nil:
		return checkCommand("health.command", h.Command)
	case h.File != "" && !filepath.IsLocal(h.File):
		return fmt.Errorf("health.file %q is not a path within the version's directory", h.File)
	}
	return nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("health.http: %w", err)
	}
	onSocket := u.Scheme == "" && u.Host == "" && strings.HasPrefix(text, "/")
	if !onSocket && (u.Scheme != "http" || u.Host == "") {
		return fmt.Errorf("health.http %q is neither a path nor an http:// URL", text)
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
