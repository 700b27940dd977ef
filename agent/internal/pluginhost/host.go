// Package pluginhost keeps the device's updaters: it finds the one for a
// component type, verifies and starts it when it is first needed, and starts
// it anew when it dies. A component type has one updater process at a time.
package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Config names the updater of one component type.
type Config struct {
	Type   string // component type: "application"
	Path   string // of the executable
	SHA256 string // pinned checksum of the executable, hex

	// Answer is how long the updater may take for a sign of life, which it
	// gives whatever else it does: one that is frozen is killed after at most
	// twice this time, and replaced. 0 is 30 s.
	Answer time.Duration

	// What its process may take, without its components. One that takes more is
	// killed and replaced. 0 are the defaults below.
	Memory int64 // bytes of its own
	Files  int   // open at once

	User *updater.User // that it runs as; nil: as the agent
}

const (
	defaultAnswer = 30 * time.Second
	defaultMemory = 512 << 20
	defaultFiles  = 1024
	maxThreads    = 1024
)

// Options say where updaters work. Each gets a directory of its own, named by
// its type, below Data and Run.
type Options struct {
	Data   string // durable
	Run    string // for sockets: a short path
	Link   string // the agent's unix socket, meant for components
	Logger *slog.Logger
}

// A Host holds the updaters that run. Its methods may be called concurrently.
type Host struct {
	slots  map[string]*slot
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the slots' supervisors
}

// typeName is what a component type may look like; it names directories.
var typeName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// New returns a Host for the configured updaters. It starts none yet.
func New(configs []Config, o Options) (*Host, error) {
	h := &Host{slots: map[string]*slot{}}
	for _, c := range configs {
		if !typeName.MatchString(c.Type) {
			return nil, fmt.Errorf("cannot use updater for type %q: a type is a small letter and up to 31 small letters, digits and -", c.Type)
		}
		if h.slots[c.Type] != nil {
			return nil, fmt.Errorf("cannot use two updaters for type %q: keep one of them", c.Type)
		}
		h.slots[c.Type] = newSlot(h, c, o)
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h, nil
}

// Updater returns the running updater for a component type, and starts it if
// need be. Ask again for every call: a call on an updater that died fails with
// an error that wraps [updater.ErrRetry], and asking again gets a fresh one.
// An error of Updater wraps ErrRetry too if asking again may help.
func (h *Host) Updater(ctx context.Context, componentType string) (*updater.Client, error) {
	s := h.slots[componentType]
	if s == nil {
		return nil, fmt.Errorf("no updater is configured for components of type %q, only for: %s",
			componentType, strings.Join(h.Types(), ", "))
	}
	return s.get(ctx)
}

// Types returns the component types that have an updater, sorted.
func (h *Host) Types() []string { return slices.Sorted(maps.Keys(h.slots)) }

// Close kills all updaters and waits for their end. Components run on.
func (h *Host) Close() error {
	h.cancel()
	for _, s := range h.slots {
		s.close()
	}
	h.wg.Wait()
	return nil
}

// passing says whether another attempt to start the updater may succeed.
func passing(err error) bool {
	return !errors.Is(err, updater.ErrChecksum) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission)
}

func launchConfig(c Config, o Options) updater.LaunchConfig {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return updater.LaunchConfig{
		Path: c.Path, SHA256: c.SHA256, Link: o.Link,
		Data:   filepath.Join(o.Data, c.Type),
		Run:    filepath.Join(o.Run, c.Type),
		Logger: o.Logger.With("updater", c.Type),
		User:   c.User,
	}
}
