// Package container is the container updater: a component is a container of its
// own, made of a root file system for each version, and its state is directories
// of the device that are mounted into it.
//
// An [Engine] runs it in the foreground, below a supervisor, as an application is
// run (see package service). What a container may do is decided here: of a
// package's settings only what package container knows gets as far as an engine,
// and never as text that it would read as configuration.
package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/container/internal/cgroup"
	"github.com/tranquil-iot/tranquil/plugins/container/internal/image"
	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Type is the type of the components that this updater handles.
const Type = "container"

// An Engine is an outside tool that runs containers.
type Engine interface {
	// Check returns why this device cannot run the box, or any.
	Check(Box) error
	// Command writes the engine's configuration into the box's directory, and
	// returns the command that runs the box until it ends, passing signals on
	// to it. What it needs gone before each start is in fresh.
	Command(Box) (command, fresh []string, err error)
	// Up reports whether the box runs its own program already.
	Up(context.Context, Box) (bool, error)
	// Inside returns the command that runs another one in the running box.
	Inside(b Box, command []string) []string
}

// engineNames are the engines that there can be, the preferred one first.
var engineNames = []string{"lxc", "oci"}

// A Driver runs services in containers.
type Driver struct {
	Engines map[string]Engine // by name
	Grants  string            // file, see [GrantsFile]
}

var (
	_ service.Driver  = Driver{}
	_ service.Freezer = Driver{}
	_ service.Sweeper = Driver{}
)

// Open makes an updater that works in an environment.
func (d Driver) Open(env updater.Environment) (updater.Updater, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("containers need root: start the agent as root")
	}
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
	return service.Traits{Grace: time.Duration(s.Grace), Own: true}, err
}

// Unpack makes the root file system, and looks whether an engine can run it: the
// component still runs now, and will not when it is started.
func (d Driver) Unpack(ctx context.Context, h service.Home, v service.Version, artifact, dir string) error {
	s, err := readSettings(v.Settings)
	if err != nil {
		return err
	}
	source, err := os.Open(artifact)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := image.Unpack(ctx, service.Bounded(ctx, source), dir); err != nil {
		return err
	}
	b, err := d.newBox(h, dir, s)
	if err != nil {
		return err
	}
	if _, err := d.choose(&b, s.Engine); err != nil {
		return err
	}
	return disk.Sync(dir)
}

// newBox is a box with what it is granted, if it may run.
func (d Driver) newBox(h service.Home, dir string, s Settings) (b Box, err error) {
	if b, err = newBox(dir, s); err != nil {
		return b, err
	}
	if b.Grant, err = readGrant(d.Grants, h.Component); err != nil {
		return b, err
	}
	return b, b.Grant.admits(b)
}

// choose finds an engine for a box.
func (d Driver) choose(b *Box, name string) (Engine, error) {
	var errs []error
	for _, candidate := range engineNames {
		engine, have := d.Engines[candidate]
		if !have || name != "" && name != candidate {
			continue
		}
		err := engine.Check(*b)
		if err == nil {
			b.Engine = candidate
			return engine, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", candidate, err))
	}
	return nil, fmt.Errorf("no engine of this device can run it: %w", errors.Join(errs...))
}

// Spec prepares all that the container needs and returns what enters it.
func (d Driver) Spec(h service.Home, v service.Version) (spec supervisor.Spec, err error) {
	s, err := readSettings(v.Settings)
	if err != nil {
		return spec, err
	}
	b, err := d.newBox(h, v.Files(), s)
	if err == nil {
		b.Devices, err = b.Grant.devices()
	}
	if err != nil {
		return spec, err
	}
	engine, err := d.choose(&b, s.Engine)
	if err != nil {
		return spec, err
	}
	b.Name, b.Dir = name(h), boxDir(h)
	if err := b.settle(h, v, s); err != nil {
		return spec, err
	}
	control := filepath.Join(filepath.Dir(h.Control), id(h))
	for _, dir := range []string{b.Dir, control} {
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
			return spec, err
		}
	}
	b.share(h, s, control)
	if err := b.claimState(); err != nil {
		return spec, err
	}
	if b.Run, spec.Fresh, err = engine.Command(b); err != nil {
		return spec, err
	}
	spec.Dir, spec.Halt, spec.Control = "/", b.Halt, filepath.Join(control, controlSocket)
	spec.Command = []string{"/proc/self/exe", enterArg, b.Dir}
	spec.Env = []string{"PATH=" + os.Getenv("PATH")}
	return spec, b.write()
}

// boxDir is the directory of the engine's files.
func boxDir(h service.Home) string { return h.Path("box") }

// name is a container's name on the device, which also those of another data
// directory do not have.
func name(h service.Home) string {
	short := h.Name()
	return short[:min(len(short), 40)] + "-" + id(h)
}

// id tells homes apart, in a few characters: it is part of a socket's path.
func id(h service.Home) string {
	sum := sha256.Sum256([]byte(h.Dir))
	return hex.EncodeToString(sum[:4])
}

// running returns the box that was started last, and its engine.
func (d Driver) running(h service.Home) (Box, Engine, error) {
	b, err := readBox(boxDir(h))
	if err != nil {
		return b, nil, err
	}
	engine, have := d.Engines[b.Engine]
	if !have {
		return b, nil, fmt.Errorf("it was started by the engine %q, which this updater does not have", b.Engine)
	}
	return b, engine, nil
}

// Up reports whether the container's program has begun.
func (d Driver) Up(ctx context.Context, h service.Home) (bool, error) {
	b, engine, err := d.running(h)
	if err != nil {
		return false, err
	}
	return engine.Up(ctx, b)
}

// Probe asks in the way that the settings say.
func (d Driver) Probe(ctx context.Context, h service.Home, v service.Version, spec supervisor.Spec) error {
	s, err := readSettings(v.Settings)
	if err != nil {
		return err
	}
	switch {
	case s.Health.HTTP != "":
		return service.Get(ctx, spec.Control, s.Health.HTTP)
	case s.Health.Port != 0:
		return knock(ctx, name(h), s.Health.Port)
	case s.Health.Command != nil:
		b, engine, err := d.running(h)
		if err != nil {
			return err
		}
		if err := service.Run(ctx, "/", spec.Env, engine.Inside(b, s.Health.Command)); err != nil {
			return fmt.Errorf("health command %s: %w", s.Health.Command[0], err)
		}
	}
	return nil
}

// Sweep ends what an engine that was killed has left.
func (Driver) Sweep(ctx context.Context, h service.Home) (bool, error) {
	return cgroup.Sweep(ctx, name(h))
}

// Freeze suspends the container.
func (Driver) Freeze(ctx context.Context, h service.Home) error { return cgroup.Freeze(ctx, name(h)) }

// Frozen reports whether it is suspended.
func (Driver) Frozen(h service.Home) bool { return cgroup.Frozen(name(h)) }

// Thaw lets it go on.
func (Driver) Thaw(h service.Home) error { return cgroup.Thaw(name(h)) }
