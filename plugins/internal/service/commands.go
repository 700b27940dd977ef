package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"golang.org/x/sys/unix"
)

// Commands are programs that bring the state of a component into a directory
// and back, for components that keep it elsewhere and that nobody can change.
// The directory is their last argument.
type Commands struct {
	Save    []string `json:"save"`              // fills the empty directory
	Apply   []string `json:"apply"`             // makes the state what the directory holds, also if it did so before
	Running bool     `json:"running,omitempty"` // they need the component to run; otherwise they run while it does not
	Timeout Duration `json:"timeout,omitempty"` // for one run; default 10m
}

const defaultTimeout = 10 * time.Minute

// Check refuses commands that are none.
func (c *Commands) Check() error {
	if c == nil {
		return nil
	}
	if c.Timeout < 0 {
		return errors.New("commands.timeout is negative")
	}
	return errors.Join(CheckCommand("commands.save", c.Save), CheckCommand("commands.apply", c.Apply))
}

// handed reports whether the state is elsewhere than in the component's
// directory, so that it has to be asked for.
func (t Traits) handed() bool { return t.Handover || t.Commands != nil }

// beforeEnd reports whether it has to be asked for before the component ends.
func (t Traits) beforeEnd() bool { return t.Handover || t.Commands != nil && t.Commands.Running }

// command runs one of a version's programs on a directory. Its state variable
// is the directory: what it starts must not be taken for the component.
func (h Home) command(ctx context.Context, v Version, command []string, dir string) error {
	spec, err := h.driver.Spec(h, v)
	if err != nil {
		return err
	}
	env := append(spec.Env, component.EnvState+"="+dir)
	limit := cmp.Or(time.Duration(v.Traits.Commands.Timeout), defaultTimeout)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := Run(limited, spec.Dir, env, append(append([]string{}, command...), dir)); err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("not done within %v: %w", limit, err)
		}
		return fmt.Errorf("command %s: %w", command[0], err)
	}
	return nil
}

// some is the part of the time that is left that a component may take to give its
// state: as much stays for its end.
func some(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, has := ctx.Deadline(); has {
		return context.WithTimeout(ctx, time.Until(end)/2)
	}
	return context.WithCancel(ctx)
}

// saveStopped saves by a program that needs the component not to run, if that
// is how it is done and the state is where such a program finds it.
func (h Home) saveStopped(ctx context.Context, dir string) (is bool, err error) {
	v, installed, err := h.current()
	if c := v.Traits.Commands; err != nil || !installed || c == nil || c.Running || disk.Exists(h.incoming()) {
		return false, err
	}
	return true, h.command(ctx, v, v.Traits.Commands.Save, dir)
}

// applyBefore gives the incoming state to a component that does not run yet, if
// that is how it is done.
func (h Home) applyBefore(ctx context.Context, v Version) error {
	if c := v.Traits.Commands; c == nil || c.Running || !disk.Exists(h.incoming()) {
		return nil
	}
	return h.applyByCommand(ctx, v)
}

// applyByCommand may be repeated: the incoming state goes when it was taken, and
// what the program has written, wherever that is, is on the disk.
func (h Home) applyByCommand(ctx context.Context, v Version) error {
	if err := h.command(ctx, v, v.Traits.Commands.Apply, h.incoming()); err != nil {
		return h.withLog(fmt.Errorf("the state is not taken over: %w", err))
	}
	unix.Sync()
	return removeAll(h.incoming())
}
