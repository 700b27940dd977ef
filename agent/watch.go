package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// How often a device asks for news of signatures when no update does: a timestamp is
// good for two days.
const (
	newsEvery = 12 * time.Hour
	newsAgain = time.Hour // after something was wrong
)

// watchTrust looks at signatures now and then, so that people hear of trouble, such as
// a file server that stands still, before an update runs into it. It ends with ctx.
func (a *agent) watchTrust(ctx context.Context) {
	for wait := time.Minute; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait = newsEvery
		for _, component := range a.config.Components {
			if a.lookAtTrust(ctx, component) {
				a.changed(component)
			}
			if a.trustOf(component).Trouble != "" {
				wait = newsAgain
			}
		}
	}
}

// lookAtTrust reports whether something is otherwise than before.
func (a *agent) lookAtTrust(ctx context.Context, component string) (news bool) {
	client, err := a.trusted()
	var v trust.Verdict
	if err == nil && client == nil { // it needs no signatures
		return false
	}
	if err == nil {
		v, err = client.Look(ctx, component)
	}
	return a.noteTrust(component, v, err)
}

// trustOf is what the last look at signatures has found.
func (a *agent) trustOf(component string) engine.Trust {
	t, _ := a.signatures.Load(component)
	found, _ := t.(engine.Trust)
	return found
}

// noteTrust keeps what a look at signatures has found, and reports whether that is
// something else than before. A package that nobody has signed for is no trouble with
// signatures.
func (a *agent) noteTrust(component string, v trust.Verdict, err error) (news bool) {
	before := a.trustOf(component)
	now := engine.Trust{Timestamp: max(v.Timestamp, before.Timestamp), Trouble: v.Doubt}
	switch {
	case errors.Is(err, context.Canceled):
		return false
	case err != nil && !errors.Is(err, trust.ErrUnlisted):
		now.Trouble = err.Error()
	}
	switch {
	case now.Trouble != "" && now.Trouble != before.Trouble:
		a.log.Warn("signatures of packages are in trouble", "component", component, "timestamp", now.Timestamp, "trouble", now.Trouble)
	case now.Trouble == "" && before.Trouble != "":
		a.log.Info("signatures of packages are well again", "component", component, "timestamp", now.Timestamp)
	}
	a.signatures.Store(component, now)
	return now != before
}
