// Package exec is the application updater: a component is a program that runs
// as a supervised process of its own, and its state is a directory.
package exec

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/application/internal/systemd"
	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Type is the type of the components that this updater handles.
const Type = "application"

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A Driver runs services as processes below a supervisor of our own, or as units
// of systemd.
type Driver struct {
	Systemd systemd.Manager
}

var (
	_ service.Runner   = Driver{}
	_ service.Preparer = Driver{}
)

// Open makes an updater that works in env.
func (d Driver) Open(env updater.Environment) (updater.Updater, error) {
	return service.Open(Type, d, env)
}

// Check judges the settings of a new version.
func (Driver) Check(settings []byte) error {
	_, err := parseSettings(settings)
	return err
}

// Traits reads the settings.
func (Driver) Traits(settings []byte) (service.Traits, error) {
	s, err := readSettings(settings)
	return service.Traits{Handover: s.State == stateHandover, Commands: s.Commands, Grace: time.Duration(s.Grace)}, err
}

// Unpack takes the files out of the artifact.
func (Driver) Unpack(ctx context.Context, _ service.Home, v service.Version, artifact, dir string) error {
	s, err := readSettings(v.Settings)
	if err != nil {
		return err
	}
	source, err := os.Open(artifact)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := pack.Unpack(service.Bounded(ctx, source), dir, pack.Limits{}, true); err != nil {
		return err
	}
	for _, command := range s.programs() {
		if err := checkProgram(dir, command[0]); err != nil {
			return err
		}
	}
	return nil
}

// Spec says how to run v. The variables that Tranquil promises come last, so
// that they win.
func (Driver) Spec(h service.Home, v service.Version) (supervisor.Spec, error) {
	s, err := readSettings(v.Settings)
	if err != nil {
		return supervisor.Spec{}, err
	}
	env := []string{"PATH=" + cmp.Or(os.Getenv("PATH"), defaultPath)}
	for key, value := range s.Env {
		env = append(env, key+"="+value)
	}
	env = append(env,
		component.EnvComponent+"="+h.Component,
		component.EnvVersion+"="+v.Version,
		component.EnvControl+"="+h.Control,
		component.EnvLink+"="+h.Link,
	)
	spec := supervisor.Spec{Dir: v.Files(), Command: s.Command, Env: env}
	if s.Health.File != "" {
		spec.Fresh = []string{filepath.Join(v.Files(), s.Health.File)}
	}
	return spec, nil
}

// Probe asks in the way that the settings say.
func (d Driver) Probe(ctx context.Context, h service.Home, v service.Version, running supervisor.Spec) error {
	s, err := readSettings(v.Settings)
	if err != nil {
		return err
	}
	spec, err := d.Spec(h, v)
	if err != nil {
		return err
	}
	switch health := s.Health; {
	case strings.HasPrefix(health.HTTP, "/"):
		return service.Get(ctx, running.Control, health.HTTP)
	case health.HTTP != "":
		return service.Get(ctx, "", health.HTTP)
	case health.Command != nil:
		if err := service.Run(ctx, spec.Dir, spec.Env, health.Command); err != nil {
			return fmt.Errorf("health command %s: %w", health.Command[0], err)
		}
	case health.File != "" && !disk.Exists(filepath.Join(v.Files(), health.File)):
		return fmt.Errorf("it has not made the file %s yet", health.File)
	}
	return nil
}
