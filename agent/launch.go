package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/self"
	"github.com/tranquil-iot/tranquil/agent/internal/store"
	"github.com/tranquil-iot/tranquil/sdk/boot"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// launcher is the variable that tells an agent which program has launched it, and is to do
// so again when another version is to run.
const launcher = "TRANQUIL_LAUNCHER"

// launch becomes the version of the agent that is to run, with the same process: whoever
// looks after the agent looks after that.
func (o *options) launch(context.Context, []string) error {
	installed, err1 := os.Executable()
	log, err2 := o.logger()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if err := store.Free(o.config.store()); err != nil { // it would count as a start of the version that runs
		return err
	}
	program, err := self.Choose(o.config.self(), installed)
	if err != nil {
		log.Error("another version of the agent should run", "runs", program, "cause", err)
	}
	env := append(drop(os.Environ(), launcher), launcher+"="+installed)
	err = syscall.Exec(program, o.runArgs("run"), env)
	log.Error("this version of the agent cannot be started", "program", program, "error", err)
	return syscall.Exec(installed, o.runArgs("run"), env)
}

func (o *options) runArgs(command string) []string {
	args := []string{self.Program, command, "--config", o.file}
	if o.log != "" {
		args = append(args, "--log", o.log)
	}
	if o.verbose {
		args = append(args, "-v")
	}
	return args
}

func drop(env []string, name string) (rest []string) {
	for _, variable := range env {
		if !strings.HasPrefix(variable, name+"=") {
			rest = append(rest, variable)
		}
	}
	return rest
}

// errRestart ends the work of an agent that is to start anew.
var errRestart = errors.New("the agent starts anew")

// run works until ctx ends, or until another version of the agent is to run: that is what
// this process becomes then.
func (o *options) run(ctx context.Context, words []string) error {
	if len(words) > 0 {
		return fmt.Errorf("run takes no %q: %w", words[0], errUsage)
	}
	log, err := o.logger()
	if err != nil {
		return err
	}
	by := os.Getenv(launcher)
	if by == "" && o.config.updatesItself() {
		return fmt.Errorf("%s can be updated only if the agent is started by tranquil-agent launch, in place of run", self.Component)
	}
	ctx, restart := context.WithCancelCause(ctx)
	defer restart(nil)
	if err := run(ctx, o.config, log, func() { restart(errRestart) }); err != nil || !errors.Is(context.Cause(ctx), errRestart) {
		return err
	}
	log.Info("agent starts anew", "launcher", by)
	if by != "" {
		return syscall.Exec(by, o.runArgs("launch"), os.Environ())
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(executable, o.runArgs("run"), os.Environ())
}

// store is where the agent remembers what it does.
func (c config) store() string { return filepath.Join(c.Data, "store") }

// self is where the versions of the agent are.
func (c config) self() string { return filepath.Join(c.updaters(), self.Type) }

// updatesItself reports whether the agent is one of the components.
func (c config) updatesItself() bool {
	for _, u := range c.Updaters {
		if u.Type == self.Type {
			return true
		}
	}
	return false
}

// noteRegistered tells who proves a version of the agent.
func (a *agent) noteRegistered(yes bool) error {
	if !a.config.updatesItself() {
		return nil
	}
	return self.Registered(a.config.self(), yes)
}

// trialTime is how long a version of the agent may take to prove itself before it is
// started once more: its engine may not get so far as to find that out.
const trialTime = 15 * time.Minute

// prove starts the agent anew if it is a version that does not prove itself.
func (a *agent) prove(ctx context.Context, log *slog.Logger) {
	executable, err := os.Executable()
	if err != nil || !a.config.updatesItself() || !self.Tried(a.config.self(), executable) {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(trialTime):
		if self.Tried(a.config.self(), executable) {
			log.Error("this version of the agent has not proven itself", "within", trialTime)
			a.restart()
		}
	}
}

// start is the identity of this start of the agent.
var start = rand.Text()

// bootOf is the present boot of what a component runs on. The agent's own is its start.
func bootOf(component string) string {
	if component == self.Component {
		return start
	}
	return boot.ID()
}

// waitsForBoot hears that an update waits for the next boot.
func (a *agent) waitsForBoot(component string) {
	if component == self.Component {
		a.restart()
	}
}

// program finds an updater's executable. One that is named without a path lies beside the
// agent's, which came with it, or where those are that were installed with the device.
func (u updaterConfig) program() (path, sum string, err error) {
	path, sum = u.Path, u.SHA256
	if u.Type == self.Type {
		path, err = os.Executable()
	} else if name := path; !strings.Contains(name, "/") {
		if path, err = beside(name); err == nil {
			path = sound(path, filepath.Join(installedUpdaters, name))
		}
	}
	if err == nil && sum == "" {
		sum, err = updater.Checksum(path)
	}
	return path, sum, err
}

// sound prefers an updater of the agent's version, unless it is damaged and there is the
// one that was installed with the device.
func sound(own, installed string) string {
	if self.Intact(own) == nil {
		return own
	}
	if _, err := os.Stat(installed); err != nil {
		return own
	}
	return installed
}

const installedUpdaters = "/usr/lib/tranquil"

func beside(name string) (string, error) {
	executable, err := os.Executable()
	if err != nil {
		return "", err
	}
	own := filepath.Join(filepath.Dir(executable), name)
	if _, err := os.Stat(own); err == nil {
		return own, nil
	}
	return filepath.Join(installedUpdaters, name), nil
}

// checkProgram wants the programs of others to be pinned.
func (u updaterConfig) checkProgram() error {
	switch {
	case u.Type == self.Type && (u.Path != "" || u.SHA256 != ""):
		return errors.New("the agent updates itself: leave out path and sha256")
	case u.Type != self.Type && u.SHA256 == "" && strings.Contains(u.Path, "/"):
		return errors.New("sha256 is missing: run the updater by hand, it prints the lines for this file")
	}
	return nil
}
