package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
		return errors.New("trust: either root, or unsigned = true")
	}
	return nil
}

// noRoot is what outcomes say as long as nobody has decided.
const noRoot = "whoever controls the backend decides what is installed: set trust.root to have only signed packages, or trust.unsigned = true"

// openTrust returns nil if the device has no root.
func (a *agent) openTrust() (*trust.Client, error) {
	c := a.config.Trust
	if c.Root == "" {
		a.log.Warn("packages need no signature: " + noRoot)
		return nil, nil
	}
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

// vouch is what the engine asks about a package: the backend has chosen it, and
// its author must have signed for it. What it goes by may be outdated: then the
// version can only be raised.
func (a *agent) vouch(ctx context.Context, u engine.Update, p *pack.Package) (doubt string, err error) {
	if a.trust == nil {
		if a.config.Trust.Unsigned {
			return "", nil
		}
		return noRoot, nil
	}
	if err := a.trust.CheckEpoch(u.Component, p.Manifest.Epoch); err != nil {
		return "", err
	}
	v, err := a.trust.Verify(ctx, trust.Of(p))
	back := u.From.Previous != nil && u.From.Previous.Digest == p.Digest
	lower := u.From.Version != "" && pack.CompareVersions(p.Manifest.Version, u.From.Version) < 0
	switch {
	case err != nil && back && v.Offline:
		return "nobody could be asked whether the version before is still signed for", nil
	case errors.Is(err, trust.ErrUnreachable):
		return "", engine.Retry{Err: err}
	case err != nil:
		return "", err
	case v.Doubt != "" && lower && !back:
		return "", fmt.Errorf("cannot go down to version %s, since what is known of signatures may be old: %s", p.Manifest.Version, v.Doubt)
	}
	a.log.Info("package is signed for", "component", u.Component, "version", p.Manifest.Version, "author", v.Author, "timestamp", v.Timestamp, "doubt", v.Doubt)
	return v.Doubt, nil
}

// An inventory notes security epochs, below which nothing is installed again.
type inventory struct {
	*store.Store
	trust *trust.Client // nil: there is none
	log   *slog.Logger
}

func (i inventory) Commit(component string, to engine.Installed) error {
	if err := i.Store.Commit(component, to); err != nil || i.trust == nil {
		return err
	}
	if err := i.trust.Installed(component, to.Epoch); err != nil { // it counts when the component was removed
		i.log.Error("the security epoch is not noted", "component", component, "epoch", to.Epoch, "error", err)
	}
	return nil
}
