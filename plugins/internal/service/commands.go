package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
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

// envCommand marks what programs of a component have started, by its home.
const envCommand = "TRANQUIL_COMMAND"

// commandsNote says that programs of the component have run at some time.
func (h Home) commandsNote() string { return h.Path("commands") }

// command runs one of a version's programs on a directory, alone, and ends what it leaves
// running. Its state variable is the directory: what it starts must not be taken for the
// component.
func (h Home) command(ctx context.Context, v Version, command []string, dir string) error {
	spec, err := h.driver.Spec(h, v)
	if err == nil {
		err = os.WriteFile(h.commandsNote(), nil, 0o600)
	}
	if err == nil {
		err = h.endCommands(ctx)
	}
	if err != nil {
		return err
	}
	env := append(spec.Env, component.EnvState+"="+dir, envCommand+"="+h.Dir)
	limit := cmp.Or(time.Duration(v.Traits.Commands.Timeout), defaultTimeout)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = Run(limited, spec.Dir, env, append(append([]string{}, command...), dir))
	if limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("not done within %v: %w", limit, err)
	}
	if err != nil {
		err = fmt.Errorf("command %s: %w", command[0], err)
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, h.endCommands(late))
}

// endCommands ends what an earlier updater was killed in the middle of: it would go on with
// a state that is another one by now.
func (h Home) endCommands(ctx context.Context) error {
	if !disk.Exists(h.commandsNote()) {
		return nil
	}
	_, err := supervisor.KillMarked(ctx, envCommand+"="+h.Dir)
	return err
}

// saveByCommand fills an empty directory. One that stays empty is no state: applying that
// would have nothing to go by.
func (h Home) saveByCommand(ctx context.Context, v Version, dir string) error {
	command := v.Traits.Commands.Save
	if err := h.command(ctx, v, command, dir); err != nil {
		return err
	}
	if isEmpty(dir) {
		return fmt.Errorf("command %s has left nothing in the directory: it must leave a file, also of a state that is empty", command[0])
	}
	return nil
}

func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
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
	return true, h.saveByCommand(ctx, v, dir)
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
	if isEmpty(h.incoming()) { // there is no state yet, or no longer: what is elsewhere stays
		return removeAll(h.incoming())
	}
	if err := h.command(ctx, v, v.Traits.Commands.Apply, h.incoming()); err != nil {
		return h.withLog(fmt.Errorf("the state is not taken over: %w", err))
	}
	unix.Sync()
	return removeAll(h.incoming())
}
