package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
	"github.com/tranquil-iot/tranquil/agent/internal/delivery"
	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/fetch"
	"github.com/tranquil-iot/tranquil/agent/internal/manager"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// deliveryPatience is how long a package may come from nowhere before its
// delivery has failed.
const deliveryPatience = 10 * time.Minute

// locate finds the package that an LwM2M server names. What goes for our file
// server goes for any other: plaintext beyond this machine has to be allowed.
func (a *agent) locate(uri, user, password string) (delivery.Remote, error) {
	c := a.fetching()
	c.URL, c.Also, c.Patience = "", nil, deliveryPatience
	if user != "" {
		c.User = url.UserPassword(user, password)
	}
	r, err := fetch.NewRemote(uri, c)
	if err != nil {
		return nil, err
	}
	if err := (filesConfig{Insecure: a.config.Files.Insecure}).checkURL("files.url", uri); err != nil {
		r.Close()
		return nil, fmt.Errorf("%w: %w", fetch.ErrScheme, err)
	}
	return r, nil
}

// judge tells the failures of a delivery apart. A connection that is lost makes
// half a package, so it is looked for before that.
func judge(err error) string {
	var space *content.SpaceError
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.As(err, &space):
		return engine.NoStorage
	case is(fetch.ErrScheme):
		return engine.BadProtocol
	case is(fetch.ErrURI):
		return engine.BadURI
	case is(fetch.ErrNotFound):
		return engine.NotFound
	case is(fetch.ErrUnreachable, fetch.ErrBudget, delivery.ErrLost):
		return engine.ConnectionLost
	case is(pack.ErrDigest, content.ErrDigest, content.ErrSize, fetch.ErrSize, fetch.ErrChanged, io.ErrUnexpectedEOF):
		return engine.BadIntegrity
	case is(delivery.ErrUnsupported):
		return engine.Unsupported
	}
	return engine.DeviceError
}

// rebootIn leaves a server's request the time to be answered.
const rebootIn = time.Second

// reboot is how a server may have the device rebooted; nil if it may not.
func (a *agent) reboot() func() error {
	command := a.config.Reboot
	if len(command) == 0 {
		return nil
	}
	return func() error {
		a.log.Warn("a server has the device rebooted", "command", command)
		time.AfterFunc(rebootIn, func() {
			if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
				a.log.Error("cannot reboot", "error", err, "output", string(out))
			}
		})
		return nil
	}
}

// released frees the disk from what a delivery has left, between two updates; one of
// the component that waits does that at its end.
func (a *agent) released(ctx context.Context, component string) error {
	err := a.manager.Between(ctx, component, a.collect)
	if errors.Is(err, manager.ErrBusy) {
		return nil
	}
	return err
}

// collect removes packages that nothing needs any more. An agent that has forgotten
// what is installed may yet learn that from its package.
func (a *agent) collect() error {
	if a.repair.Fault() != "" || a.store.Damage().Lost {
		return nil
	}
	return a.engine.Collect()
}
