package recovery

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// serveTime is how long a component may take to show that it does not end at
// once; one that serves is believed earlier.
const serveTime = 5 * time.Second

// Start starts what is installed, unless an update has stopped it: what it
// would write then is in no saved state; or unless it must not start, see
// [Recovery.Fit]. One that shall not run is stopped.
func (r *Recovery) Start(ctx context.Context, component string) error {
	if i, err := r.Memory.Installed(component); err != nil || i.Version == "" {
		return err
	}
	if record, open, err := r.Memory.Load(component); err != nil || open && record.Stopped() {
		return err
	}
	if r.Halted(component) {
		return nil
	}
	inactive, err := r.inactive(component)
	if err != nil {
		return err
	}
	kind, _, _ := strings.Cut(component, "/")
	u, err := r.Updater(ctx, kind)
	if err != nil {
		return err
	}
	if inactive {
		return within(ctx, u, func(ctx context.Context) error {
			_, err := u.Stop(ctx, updater.StopRequest{Component: component})
			return err
		})
	}
	if may, err := r.Fit(ctx, component); !may || err != nil {
		return err
	}
	return within(ctx, u, func(ctx context.Context) error { return r.Begin(ctx, u, component) })
}

// inactive reports whether a component shall not run.
func (r *Recovery) inactive(component string) (bool, error) {
	w, err := r.Memory.Wishes(component)
	return w.Inactive, err
}

// start has the component run, and sees whether it goes on running: a damaged
// program may well be started, and crash.
func (r *Recovery) start(ctx context.Context, u *updater.Client, component string) error {
	if inactive, err := r.inactive(component); inactive || err != nil || r.Halted(component) {
		return err
	}
	return within(ctx, u, func(ctx context.Context) error { return r.startAndSee(ctx, u, component) })
}

// askTime is how long an updater may take for an answer. One that takes
// longer is killed: the next call finds a new one.
const askTime = 2 * time.Minute

func within(ctx context.Context, u *updater.Client, f func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	err := f(limited)
	if limited.Err() != nil && ctx.Err() == nil {
		u.Kill()
	}
	return err
}

func (r *Recovery) startAndSee(ctx context.Context, u *updater.Client, component string) error {
	if err := r.Begin(ctx, u, component); err != nil {
		return err
	}
	for begin := time.Now(); ; {
		status, err := u.Status(ctx, updater.StatusRequest{Component: component})
		switch {
		case err != nil:
			return err
		case status.Running && healthy(ctx, u, component):
			return nil
		case status.Restarts > 0:
			return errors.New("it ends again and again")
		case time.Since(begin) > serveTime && status.Running:
			return nil // slow, or ill in a way that is not for us to judge
		case time.Since(begin) > serveTime:
			return errors.New("it does not run")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(serveTime / 50):
		}
	}
}

// healthy reports whether the component says so; one that cannot be asked has
// to prove it by running for serveTime.
func healthy(ctx context.Context, u *updater.Client, component string) bool {
	if !u.Capabilities().Probe {
		return false
	}
	answer, err := u.Probe(ctx, updater.ProbeRequest{Component: component})
	return err == nil && answer.Healthy
}

// restart is start for a component that may be crashing.
func (r *Recovery) restart(ctx context.Context, u *updater.Client, component string) error {
	if r.start(ctx, u, component) == nil {
		return nil
	}
	if _, err := u.Stop(ctx, updater.StopRequest{Component: component}); err != nil {
		return err
	}
	return r.start(ctx, u, component)
}
