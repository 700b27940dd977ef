// Package exec is the application updater: a component is a program that runs
// as a supervised process of its own, and its state is a directory.
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
package exec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/tranquil-iot/tranquil/plugins/application/internal/exec/disk"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Type is the type of the components that this updater handles.
const Type = "application"

// SuperviseArg is the first argument of the updater's own program when it is
// to be a supervisor; the second is the directory for supervisor.Run.
const SuperviseArg = "supervise"

// An Updater handles applications. It keeps nothing in memory but who works on
// which component at the moment.
type Updater struct {
	env updater.Environment
	log *slog.Logger

	mu   sync.Mutex
	busy map[string]chan struct{} // component → held while somebody changes it
}

// What the agent is told that this updater can do.
var (
	_ updater.UpdaterWithState    = (*Updater)(nil)
	_ updater.UpdaterWithSnapshot = (*Updater)(nil)
	_ updater.UpdaterWithQuiesce  = (*Updater)(nil)
	_ updater.UpdaterWithProbe    = (*Updater)(nil)
	_ updater.UpdaterWithStatus   = (*Updater)(nil)
)

// Open makes an updater that works in env.
func Open(env updater.Environment) (updater.Updater, error) {
	data, err := filepath.Abs(env.Data)
	if err != nil {
		return nil, fmt.Errorf("cannot find the data directory: %w", err)
	}
	env.Data = data
	return &Updater{env: env, log: env.Logger, busy: map[string]chan struct{}{}}, nil
}

// A home is where everything of one component is.
type home struct {
	component string // "application/sensor-adapter"
	dir       string // absolute
	control   string // unix socket that a newly started component serves
	link      string // the agent's unix socket
}

func (h home) path(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}

func (h home) state() string    { return h.path("state") }
func (h home) incoming() string { return h.path("incoming") }
func (h home) run() string      { return h.path("run") }
func (h home) logFile() string  { return h.path("log", "component.log") }

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// home finds a component's home; it need not exist.
func (u *Updater) home(component string) (home, error) {
	name, ok := strings.CutPrefix(component, Type+"/")
	if !ok || !validName.MatchString(name) {
		return home{}, fmt.Errorf("%q is no component of type %q", component, Type)
	}
	return home{
		component: component,
		dir:       filepath.Join(u.env.Data, name),
		control:   socketPath(u.env.Run, name),
		link:      u.env.Link,
	}, nil
}

// work finds a component's home and makes the caller the only one who changes
// it, until it calls done. A call that was given up and is repeated waits here
// for its first self.
func (u *Updater) work(ctx context.Context, component string) (h home, done func(), err error) {
	h, err = u.home(component)
	if err != nil {
		return home{}, nil, err
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
		return home{}, nil, fmt.Errorf("another call works on %s: %w", component, ctx.Err())
	}
	if ctx.Err() != nil {
		<-turn
		return home{}, nil, ctx.Err()
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
