// Package service is what updaters have in common whose components are a
// supervised process, or a container around one, with their state in a
// directory: versions side by side, an atomic switch, and the state's way from
// version to version. What a version is made of and how it is run, a [Driver]
// knows.
//
// Each component has a home under the updater's data directory. All that the
// updater knows is there, so it can be killed and started again at any moment:
//
//	versions/VERSION-DIGEST/   a staged version: files/ and version.json
//	current                    symbolic link to the version switched to
//	state/                     the live state, the component's while it runs
//	incoming/                  state that the next start hands to the component
//	origin                     where the live state was saved to, while it is as it was then
//	log/                       what the component printed
//	run/                       the supervisor's directory
//
// Names that begin with a dot are half done or half removed; whoever needs
// such a name removes what is there first.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A Driver knows one kind of services.
type Driver interface {
	// Check refuses settings of a new version that it does not understand: a
	// misspelt name must not show only when the component runs.
	Check(settings []byte) error
	// Traits reads the settings of a version that may have been judged by another
	// updater, when it was staged: nobody judges them again, or what is installed
	// could be lost to a stricter one.
	Traits(settings []byte) (Traits, error)
	// Unpack makes the files of a version from an artifact, in a directory
	// that does not exist yet. They are on the disk when it returns.
	Unpack(ctx context.Context, h Home, v Version, artifact, dir string) error
	// Spec says how to run a version: Dir, Command, Env, and what else is to
	// be Fresh, perhaps Control and Halt. The rest is filled in.
	Spec(h Home, v Version) (supervisor.Spec, error)
	// Probe returns why the running component is not well. It has a deadline.
	Probe(ctx context.Context, h Home, v Version, spec supervisor.Spec) error
}

// A Sweeper is a driver whose components leave what is not found by the mark in
// its environment.
type Sweeper interface {
	// Sweep ends and removes what a component has left that nobody supervises
	// any more, and reports whether there was anything to end.
	Sweep(ctx context.Context, h Home) (found bool, err error)
}

// A Freezer is a driver whose components can be suspended as a whole: that
// brings also those to rest that cannot be asked to.
type Freezer interface {
	// Up reports whether the supervised process has begun to run the component.
	Up(ctx context.Context, h Home) (bool, error)
	// Freeze returns when nothing of the component runs on.
	Freeze(ctx context.Context, h Home) error
	Frozen(h Home) bool
	// Thaw lets all of it run on. Thawing what was never frozen succeeds.
	Thaw(h Home) error
}

// Traits are what of a version's settings is not the driver's business alone.
type Traits struct {
	Handover bool          // the component is asked for its state, and given it
	Commands *Commands     // programs of the version do that; nil: none
	Grace    time.Duration // between asking it to end and force
	Own      bool          // the files of its version are its own: it may change them
}

// An Updater handles the services of one type. It keeps nothing in memory but
// who works on which component at the moment.
type Updater struct {
	kind   string // of component
	driver Driver
	env    updater.Environment
	log    *slog.Logger

	mu   sync.Mutex
	busy map[string]chan struct{} // component → held while somebody changes it
}

// What the agent is told that this updater can do.
var (
	_ updater.UpdaterWithState    = (*Updater)(nil)
	_ updater.UpdaterWithOrigin   = (*Updater)(nil)
	_ updater.UpdaterWithSnapshot = (*Updater)(nil)
	_ updater.UpdaterWithQuiesce  = (*Updater)(nil)
	_ updater.UpdaterWithProbe    = (*Updater)(nil)
	_ updater.UpdaterWithStatus   = (*Updater)(nil)
)

// Open makes an updater for the components of one type, like "application",
// that works in env.
func Open(kind string, driver Driver, env updater.Environment) (*Updater, error) {
	data, err := filepath.Abs(env.Data)
	if err != nil {
		return nil, fmt.Errorf("cannot find the data directory: %w", err)
	}
	env.Data = data
	return &Updater{kind: kind, driver: driver, env: env, log: env.Logger, busy: map[string]chan struct{}{}}, nil
}

// A Home is where everything of one component is.
type Home struct {
	Component string // "application/sensor-adapter"
	Dir       string // absolute
	Control   string // unix socket that a newly started component serves
	Link      string // the agent's unix socket

	driver Driver
}

// Path is a path below the home.
func (h Home) Path(elem ...string) string {
	return filepath.Join(append([]string{h.Dir}, elem...)...)
}

// Name is the component's name without its type.
func (h Home) Name() string { return h.Component[strings.LastIndexByte(h.Component, '/')+1:] }

// State is the directory of the live state.
func (h Home) State() string { return h.Path("state") }

// Run is the supervisor's directory.
func (h Home) Run() string { return h.Path("run") }

func (h Home) incoming() string { return h.Path("incoming") }

// mark is the variable by which the component's processes are recognised.
func (h Home) mark() string { return component.EnvState + "=" + h.State() }

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Home finds a component's home; it need not exist.
func (u *Updater) Home(component string) (Home, error) {
	name, ok := strings.CutPrefix(component, u.kind+"/")
	if !ok || !validName.MatchString(name) {
		return Home{}, fmt.Errorf("%q is no component of type %q", component, u.kind)
	}
	return Home{
		Component: component,
		Dir:       filepath.Join(u.env.Data, name),
		Control:   socketPath(u.env.Run, name),
		Link:      u.env.Link,
		driver:    u.driver,
	}, nil
}

// work finds a component's home and makes the caller the only one who changes
// it, until it calls done. A call that was given up and is repeated waits here
// for its first self.
func (u *Updater) work(ctx context.Context, component string) (h Home, done func(), err error) {
	h, err = u.Home(component)
	if err != nil {
		return Home{}, nil, err
	}
	u.mu.Lock()
	turn, ok := u.busy[component]
	if !ok {
		turn = make(chan struct{}, 1)
		u.busy[component] = turn
	}
	u.mu.Unlock()
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return Home{}, nil, fmt.Errorf("another call works on %s: %w", component, ctx.Err())
	}
	if ctx.Err() != nil {
		<-turn
		return Home{}, nil, ctx.Err()
	}
	return h, func() { <-turn }, nil
}

// removeAll removes several trees, each atomically.
func removeAll(paths ...string) error {
	var errs []error
	for _, path := range paths {
		errs = append(errs, disk.Remove(path))
	}
	return errors.Join(errs...)
}
