package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A freezer is how one version of control groups suspends processes: by what is
// written to a file, and read from one.
type freezer struct {
	control, freeze, thaw string
	state, frozen         string
}

// Version 1 (freezer-subsystem.rst) first: where there are both, it has the
// processes of all engines.
var freezers = []freezer{
	{control: "freezer.state", freeze: "FROZEN", thaw: "THAWED", state: "freezer.state", frozen: "FROZEN"},
	{control: "cgroup.freeze", freeze: "1", thaw: "0", state: "cgroup.events", frozen: "frozen 1"},
}

// freezable lists the groups of a container's processes that can be frozen.
func freezable(name string) ([]string, freezer, error) {
	all, err := payload(name)
	if err != nil {
		return nil, freezer{}, err
	}
	for _, f := range freezers {
		var groups []string
		for _, group := range all {
			if _, err := os.Stat(filepath.Join(group, f.control)); err == nil {
				groups = append(groups, group)
			}
		}
		if len(groups) > 0 {
			return groups, f, nil
		}
	}
	return nil, freezer{}, nil
}

// Freeze suspends all processes of a container and returns when none runs. If
// that does not come to pass while ctx lasts, they run on.
func Freeze(ctx context.Context, name string) error {
	groups, f, err := freezable(name)
	if err != nil {
		return err
	}
	if len(groups) == 0 {
		return fmt.Errorf("it has no control group that could be suspended: %w", errors.ErrUnsupported)
	}
	for _, group := range groups {
		if err := f.set(group, f.freeze); err != nil {
			return errors.Join(fmt.Errorf("cannot suspend it: %w", err), Thaw(name))
		}
	}
	for !f.all(groups) {
		if err := pause(ctx); err != nil {
			return errors.Join(fmt.Errorf("it does not come to rest: %w", err), Thaw(name))
		}
	}
	return nil
}

// Frozen reports whether the processes of a container are suspended, all or
// some.
func Frozen(name string) bool {
	groups, f, err := freezable(name)
	for _, group := range groups {
		text, _ := os.ReadFile(filepath.Join(group, f.control))
		if state := strings.TrimSpace(string(text)); err == nil && state != f.thaw && state != "" {
			return true
		}
	}
	return false
}

// Thaw lets the processes of a container go on.
func Thaw(name string) error {
	groups, f, err := freezable(name)
	if err != nil {
		return err
	}
	for _, group := range groups {
		if err := f.set(group, f.thaw); err != nil {
			return fmt.Errorf("cannot let it go on: %w", err)
		}
	}
	return nil
}

// set writes to a group; one that has disappeared needs nothing.
func (f freezer) set(group, value string) error {
	err := os.WriteFile(filepath.Join(group, f.control), []byte(value), 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// all reports whether nothing runs in the groups.
func (f freezer) all(groups []string) bool {
	for _, group := range groups {
		text, err := os.ReadFile(filepath.Join(group, f.state))
		if err == nil && !strings.Contains(string(text), f.frozen) {
			return false
		}
	}
	return true
}
