package recovery

import (
	"context"
	"errors"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// serveTime is how long a component may take to show that it does not end at
// once; one that serves is believed earlier.
const serveTime = 5 * time.Second

// start has the component run, and sees whether it goes on running: a damaged
// program may well be started, and crash.
func start(ctx context.Context, u *updater.Client, component string) error {
	return within(ctx, u, func(ctx context.Context) error { return startAndSee(ctx, u, component) })
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

func startAndSee(ctx context.Context, u *updater.Client, component string) error {
	if err := u.Start(ctx, updater.StartRequest{Component: component}); err != nil {
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
func restart(ctx context.Context, u *updater.Client, component string) error {
	if start(ctx, u, component) == nil {
		return nil
	}
	if _, err := u.Stop(ctx, updater.StopRequest{Component: component}); err != nil {
		return err
	}
	return start(ctx, u, component)
}
