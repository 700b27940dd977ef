package container

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
)

// Settings are what the component manifest's "settings" hold for this type. What
// an image says for itself counts where they say nothing.
type Settings struct {
	Engine       string            `json:"engine,omitempty"`       // "lxc" or "oci"; default: the first of them that the device has
	Command      []string          `json:"command,omitempty"`      // program and arguments; default: the image's
	Env          map[string]string `json:"env,omitempty"`          // besides the image's and the TRANQUIL_ ones
	Dir          string            `json:"dir,omitempty"`          // to run in; default: the image's, or /
	User         string            `json:"user,omitempty"`         // user[:group], names or numbers; default: the image's, or root
	State        map[string]string `json:"state,omitempty"`        // name in the state, "." for all of it → directory in the container
	Health       Health            `json:"health,omitzero"`        // none: healthy while it runs
	Grace        service.Duration  `json:"grace,omitempty"`        // from asking it to end to force; default 10s
	Halt         string            `json:"halt,omitempty"`         // signal that asks it to end; default: the image's, or SIGTERM
	Limits       Limits            `json:"limits,omitzero"`        // none: as much as there is
	Unprivileged bool              `json:"unprivileged,omitempty"` // root in the container is nobody on the device
}

// Health says how to find out whether the component is well. At most one field
// is set.
type Health struct {
	HTTP    string   `json:"http,omitempty"`    // path on the control socket; 2xx is well
	Command []string `json:"command,omitempty"` // run in the container; exit 0 is well
	Port    int      `json:"port,omitempty"`    // TCP, on the container's own loopback; well once it accepts
}

// Limits of all processes of a container together. 0 is no limit.
type Limits struct {
	Memory int64   `json:"memory,omitempty"` // bytes
	CPU    float64 `json:"cpu,omitempty"`    // processors: 0.5 is half of one
	PIDs   int64   `json:"pids,omitempty"`   // processes and threads
}

// minMemory is the least that a container can be started with, in bytes.
const minMemory = 4 << 20

// whole names the state as a whole in Settings.State.
const whole = "."

// readSettings reads those of a version that was judged when it was staged.
func readSettings(data []byte) (Settings, error) {
	s := Settings{Grace: service.Duration(service.DefaultGrace)}
	err := service.Read(data, &s)
	return s, err
}

// parseSettings judges those of a new version.
func parseSettings(data []byte) (Settings, error) {
	s := Settings{Grace: service.Duration(service.DefaultGrace)}
	err := service.Decode(data, &s)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return Settings{}, fmt.Errorf("bad container settings: %w", err)
	}
	return s, nil
}

func (s Settings) check() error {
	errs := []error{service.CheckGrace(s.Grace), service.CheckEnv(s.Env), s.checkState(), s.Health.check(), s.Limits.check()}
	if s.Command != nil {
		errs = append(errs, service.CheckCommand("command", s.Command))
	}
	if s.Dir != "" {
		errs = append(errs, checkPath("dir", s.Dir))
	}
	if s.Halt != "" {
		_, err := signalNumber(s.Halt)
		errs = append(errs, err)
	}
	if s.Engine != "" && !slices.Contains(engineNames, s.Engine) {
		errs = append(errs, fmt.Errorf("engine is %q, must be one of %q", s.Engine, engineNames))
	}
	for key, value := range s.Env {
		errs = append(errs, checkLine("env "+key, key+"="+value))
	}
	return errors.Join(errs...)
}

func (h Health) check() error {
	kinds := 0
	for _, set := range []bool{h.HTTP != "", h.Command != nil, h.Port != 0} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return errors.New("health has several kinds: choose one of http, command and port")
	case h.HTTP != "" && !strings.HasPrefix(h.HTTP, "/"):
		return fmt.Errorf("health.http %q is no path: an updater asks nobody but the container", h.HTTP)
	case h.HTTP != "":
		return service.CheckHTTP(h.HTTP)
	case h.Command != nil:
		return service.CheckCommand("health.command", h.Command)
	case h.Port < 0 || h.Port > 65535:
		return fmt.Errorf("health.port %d is no port", h.Port)
	}
	return nil
}

func (l Limits) check() error {
	switch {
	case l.Memory < 0 || l.Memory > 0 && l.Memory < minMemory:
		return fmt.Errorf("limits.memory is %d bytes, must be %d or more", l.Memory, minMemory)
	case l.CPU < 0 || l.CPU > 0 && l.CPU < 0.01 || l.CPU > 1024:
		return fmt.Errorf("limits.cpu is %g, must be from 0.01 to 1024", l.CPU)
	case l.PIDs < 0:
		return fmt.Errorf("limits.pids is negative: %d", l.PIDs)
	}
	return nil
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// reserved are directories in a container that are not its own.
var reserved = []string{"/proc", "/sys", "/dev", shared}

// checkState refuses directories that would hide one another or the system's.
func (s Settings) checkState() error {
	var dirs []string
	for name, dir := range s.State {
		if name != whole && !validName.MatchString(name) {
			return fmt.Errorf("state %q is no name of a directory", name)
		}
		if name == whole && len(s.State) > 1 {
			return fmt.Errorf("state %q is all of it: there can be no other directory", name)
		}
		if err := checkPath("state "+name, dir); err != nil {
			return err
		}
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	for i, dir := range dirs {
		for _, other := range slices.Concat(reserved, dirs[:i]) {
			if dir == other || strings.HasPrefix(dir, other+"/") || strings.HasPrefix(other, dir+"/") {
				return fmt.Errorf("state directories %s and %s would hide one another", dir, other)
			}
		}
	}
	return nil
}

func checkPath(field, dir string) error {
	if !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" && field != "dir" {
		return fmt.Errorf("%s: %q is no clean absolute path of a directory in the container", field, dir)
	}
	return checkLine(field, dir)
}

// checkLine refuses what could not stand in a line of an engine's configuration
// as it is, or would begin another one.
func checkLine(field, text string) error {
	if strings.ContainsFunc(text, unicode.IsControl) || strings.TrimSpace(text) != text {
		return fmt.Errorf("%s has control characters, or ends in white space, which no engine passes on", field)
	}
	return nil
}

// names lists the names of the state in order.
func (s Settings) names() []string { return slices.Sorted(maps.Keys(s.State)) }
