package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/store"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// A trustConfig says by what packages are trusted.
type trustConfig struct {
	Root     string `toml:"root"`     // file with root metadata, from tranquil trust init: only what an author has signed is installed
	Unsigned bool   `toml:"unsigned"` // without root: whoever controls the backend decides what is installed, and that is meant
}

func (c trustConfig) check() error {
	if c.Root != "" && c.Unsigned {
		return errors.New("either root, or unsigned = true")
	}
	return nil
}

// noRoot is what outcomes say as long as nobody has decided.
const noRoot = "whoever controls the backend decides what is installed: set trust.root to have only signed packages, or trust.unsigned = true"

// trusted returns what packages are trusted by; nil if the device has no root. If
// that cannot be had no package is installed, but all else goes on: nobody may be
// near to mend it.
func (a *agent) trusted() (*trust.Client, error) {
	a.trusting.Lock()
	defer a.trusting.Unlock()
	if a.trust != nil || a.config.Trust.Root == "" {
		return a.trust, nil
	}
	client, err := a.openTrust()
	if err == nil {
		err = a.noteEpochs(client)
	}
	if err != nil {
		return nil, fmt.Errorf("no package can be trusted: %w", err)
	}
	a.trust = client
	return client, nil
}

// checkTrust says at the start what somebody has to see to.
func (a *agent) checkTrust() {
	if a.config.Trust.Root == "" && !a.config.Trust.Unsigned {
		a.log.Warn("packages need no signature: " + noRoot)
	}
	if _, err := a.trusted(); err != nil {
		a.log.Error("nothing will be installed", "error", err)
	}
}

// noteEpochs notes also those of before the device had a root.
func (a *agent) noteEpochs(client *trust.Client) error {
	for _, component := range a.config.Components {
		i, err := a.store.Installed(component)
		if err != nil {
			return err
		}
		if err := client.Installed(component, epochOf(i)); err != nil {
			return err
		}
	}
	return nil
}

// epochOf is the highest that is known: of what is installed, or was before that.
func epochOf(i engine.Installed) int {
	if i.Previous != nil {
		return max(i.Epoch, i.Previous.Epoch)
	}
	return i.Epoch
}

func (a *agent) openTrust() (*trust.Client, error) {
	c := a.config.Trust
	root, err := os.ReadFile(c.Root)
	if err != nil {
		return nil, fmt.Errorf("cannot read trust.root: %w", err)
	}
	client, err := trust.Open(trust.Config{
		Dir: filepath.Join(a.config.Data, "trust"), Root: root, Fetch: a.fetcher.Trust,
		Clock: trust.Clock{Synchronised: synchronised}, Log: a.log,
	})
	if err != nil {
		return nil, fmt.Errorf("trust.root %s: %w", c.Root, err)
	}
	return client, nil
}

// synchronised asks the kernel whether somebody keeps the clock right, such as
// NTP.
func synchronised() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}

// errDown refuses a lower version that may have been withdrawn.
var errDown = errors.New("cannot go down")

// vouch is what the engine asks about a package: the backend has chosen it, and
// its author must have signed for it. What it goes by may be outdated: then the
// version can only be raised.
func (a *agent) vouch(ctx context.Context, u engine.Update, p *pack.Package) (doubt string, err error) {
	client, err := a.trusted()
	switch {
	case err != nil:
		return "", err
	case client == nil && a.config.Trust.Unsigned:
		return "", nil
	case client == nil:
		return noRoot, nil
	}
	if err := client.CheckEpoch(u.Component, p.Manifest.Epoch); err != nil {
		return "", err
	}
	v, err := a.verify(ctx, client, trust.Of(p))
	a.noteTrust(u.Component, v, err)
	old := errors.Is(err, trust.ErrUnreachable) || v.Offline && errors.Is(err, trust.ErrExpired)
	switch back := u.From.Previous != nil && u.From.Previous.Digest == p.Digest; {
	case old && back && client.Remembered(trust.Of(p)) == nil:
		return "nobody could be asked whether the version before is still signed for", nil
	case old:
		return "", engine.Retry{Err: err}
	case err != nil:
		return "", err
	case v.Doubt != "" && !back && pack.CompareVersions(p.Manifest.Version, last(u.From)) < 0:
		err := fmt.Errorf("%w to version %s, since what is known of signatures may be old: %s", errDown, p.Manifest.Version, v.Doubt)
		if v.Offline {
			return "", engine.Retry{Err: err}
		}
		return "", err
	}
	a.log.Info("package is signed for", "component", u.Component, "version", p.Manifest.Version, "author", v.Author, "timestamp", v.Timestamp, "doubt", v.Doubt)
	return v.Doubt, nil
}

// last is the version that is installed, or was until it was removed; "" if there
// was none, and that is lower than any.
func last(i engine.Installed) string {
	if i.Version == "" && i.Previous != nil {
		return i.Previous.Version
	}
	return i.Version
}

// An inventory notes security epochs, below which nothing is installed again, also
// when the component was removed. While trust is out of order none is; what the
// store knows is noted then when it is in order again.
type inventory struct {
	*store.Store
	trusted func() (*trust.Client, error)
}

func (i inventory) Commit(component string, to engine.Installed) error {
	client, err := i.trusted()
	if err == nil && client != nil {
		if err := client.Installed(component, epochOf(to)); err != nil {
			return err
		}
	}
	return i.Store.Commit(component, to)
}
