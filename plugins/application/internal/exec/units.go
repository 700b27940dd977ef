package exec

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/application/internal/systemd"
	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
)

// prefix begins the names of a component's units, and of no other component's, also
// if that has another data directory.
func prefix(h service.Home) string {
	sum, short := sha256.Sum256([]byte(h.Dir)), h.Name()
	return "tranquil-" + hex.EncodeToString(sum[:4]) + "-" + short[:min(len(short), 40)] + "-"
}

// units are those of a version, the one that starts the others first.
func (s Settings) units(h service.Home, v service.Version, spec supervisor.Spec) []systemd.Unit {
	unit := systemd.Unit{
		Name: systemd.Name(prefix(h), v.ID, ""), Description: h.Component + " " + v.ID,
		Command: program(spec.Dir, s.Command), Dir: spec.Dir, Env: spec.Env, Fresh: spec.Fresh, Makes: filepath.Dir(h.Control), Needs: spec.Needs,
		Grace: time.Duration(s.Grace), Options: s.Unit, Stay: s.Boot, Boot: s.Boot,
	}
	all := []systemd.Unit{unit}
	for _, name := range slices.Sorted(maps.Keys(s.Processes)) {
		beside := unit
		beside.Description = h.Component + systemd.Beside + name + ") " + v.ID
		beside.Name, beside.Of, beside.Command, beside.Fresh, beside.Boot = systemd.Name(prefix(h), v.ID, name), unit.Name, program(spec.Dir, s.Processes[name]), nil, false
		all[0].With = append(all[0].With, beside.Name)
		all = append(all, beside)
	}
	return all
}

// program is a command as systemd finds it: it knows no relative paths.
func program(dir string, command []string) []string {
	if name := command[0]; strings.Contains(name, "/") && !filepath.IsAbs(name) {
		return append([]string{filepath.Join(dir, name)}, command[1:]...)
	}
	return command
}

// Find looks for a unit as well as for a supervisor: versions may differ in which
// of them they want.
func (d Driver) Find(ctx context.Context, h service.Home) (status supervisor.Status, runs bool, err error) {
	if d.hadUnits(h) {
		status, runs, err = d.Systemd.Find(ctx, prefix(h))
	}
	if err != nil || !runs {
		found, has, e := service.Supervised{}.Find(ctx, h)
		return found, has, errors.Join(err, e)
	}
	status.Spec.Control = h.Control
	return status, true, nil
}

// Prepare writes the units of a version.
func (d Driver) Prepare(ctx context.Context, h service.Home, v service.Version, spec supervisor.Spec) error {
	s, err := readSettings(v.Settings)
	if err != nil || s.Driver != driverSystemd {
		return err
	}
	if err := os.WriteFile(unitsMark(h), nil, 0o600); err != nil {
		return err
	}
	return d.Systemd.Install(ctx, s.units(h, v, spec))
}

// unitsMark says that a component had units at some time: systemd need not be asked
// about others.
func unitsMark(h service.Home) string { return h.Path("units") }

func (d Driver) hadUnits(h service.Home) bool {
	return disk.Exists(unitsMark(h)) || d.Systemd.Has(prefix(h))
}

// Forget removes them.
func (d Driver) Forget(ctx context.Context, h service.Home, id string) error {
	return d.Systemd.Remove(ctx, systemd.Prefix(prefix(h), id))
}

// Start starts a version as it wants to be.
func (d Driver) Start(ctx context.Context, h service.Home, v service.Version, spec supervisor.Spec) error {
	s, err := readSettings(v.Settings)
	if err != nil {
		return err
	}
	if s.Driver != driverSystemd {
		return service.Supervised{}.Start(ctx, h, v, spec)
	}
	if s.Boot { // what was done to the state must not be lost when the device boots and nobody looks
		if err := disk.SyncNames(h.Dir); err != nil {
			return err
		}
	}
	return d.Systemd.Start(ctx, s.units(h, v, spec))
}

// Stop ends whichever runs the component.
func (d Driver) Stop(ctx context.Context, h service.Home, grace time.Duration, asked func() error) (forced bool, err error) {
	if d.hadUnits(h) {
		if forced, err = d.Systemd.Stop(ctx, prefix(h), grace, asked); err != nil {
			return forced, err
		}
	}
	killed, err := service.Supervised{}.Stop(ctx, h, grace, asked)
	return forced || killed, err
}

// LastLines asks the journal, or reads the log.
func (d Driver) LastLines(h service.Home) string {
	if lines := d.Systemd.LastLines(context.Background(), prefix(h), h.Begun()); lines != "" {
		return lines
	}
	return service.Supervised{}.LastLines(h)
}

// checkDriver refuses what only the other driver has.
func (s Settings) checkDriver() error {
	switch s.Driver {
	case driverSystemd:
	case driverExec:
		if s.Unit != nil || s.Processes != nil || s.Boot {
			return errors.New(`unit, processes and boot need driver = "systemd"`)
		}
		return nil
	default:
		return errors.New(`there are the drivers "exec" and "systemd"`)
	}
	commands := [][]string{s.Command}
	for name, command := range s.Processes {
		commands = append(commands, command)
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return errors.New("a process has a name of a-z, 0-9 and -")
		}
		if err := service.CheckCommand("processes."+name, command); err != nil {
			return err
		}
	}
	for _, command := range commands {
		if strings.ContainsAny(command[0][:1], "-@:+!|") {
			return fmt.Errorf("command %q begins with a sign that systemd takes for something else", command[0])
		}
	}
	return s.Unit.Check()
}
