package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Describe completes what is known of an installed version, and brings back
// what the content store has lost of it: the package's description and its
// transforms, without which there is no way back.
func (e *Engine) Describe(ctx context.Context, component string, i Installed) (Installed, error) {
	p, err := e.load(i.Digest)
	if err != nil {
		p, err = e.describe(ctx, component, i)
	}
	if err != nil {
		return i, fmt.Errorf("cannot describe %s %s: %w", component, i.Version, err)
	}
	for _, t := range p.Transforms {
		for _, b := range t.Blobs() {
			if err := e.Source.Blob(ctx, component, b.Digest, b.Size, nil); err != nil {
				return i, fmt.Errorf("cannot bring back a transform of %s %s: %w", component, i.Version, err)
			}
		}
	}
	return Installed{
		Version: p.Manifest.Version, Schema: p.Manifest.Schema(), Epoch: p.Manifest.Epoch, Digest: p.Digest, Handle: i.Handle,
		Previous: i.Previous, Held: i.Held,
	}, nil
}

// describe fetches the description of a package, by its digest if that is
// known. If not, somebody has to vouch for what the file server calls that
// version: it may be staged again, and its transforms run.
func (e *Engine) describe(ctx context.Context, component string, i Installed) (*pack.Package, error) {
	reference := i.Digest
	if reference == "" {
		reference = i.Version
	}
	manifest, err := e.Source.Manifest(ctx, component, reference)
	if err != nil {
		return nil, err
	}
	config, err := pack.ConfigOf(manifest)
	if err != nil {
		return nil, err
	}
	if err := e.Source.Blob(ctx, component, config.Digest, config.Size, nil); err != nil {
		return nil, err
	}
	err = e.Content.Receive(pack.DigestOf(manifest), int64(len(manifest)), func(have int64, w io.Writer) error {
		_, err := w.Write(manifest[have:])
		return err
	})
	if err != nil {
		return nil, err
	}
	p, err := e.load(pack.DigestOf(manifest))
	switch {
	case err != nil:
		return nil, err
	case p.Manifest.Component() != component || p.Manifest.Version != i.Version:
		return nil, fmt.Errorf("the file server has %s %s as that package", p.Manifest.Component(), p.Manifest.Version)
	case i.Digest == "":
		err = e.vouch(ctx, &Update{Component: component, From: i}, p)
	}
	return p, err
}

// LastSaved finds the newest saved state that is whole and can become that of
// the installed version, for [Engine.Reinstate], and tells in words which it
// is.
func (e *Engine) LastSaved(ctx context.Context, component string, i Installed) (u Update, which string, found bool) {
	if _, err := e.Describe(ctx, component, i); err != nil {
		e.Log.Warn("the installed package is incomplete", "component", component, "error", err)
	}
	entries, err := e.Transform.List(component, state.Needs{})
	if err != nil {
		e.Log.Error("cannot list saved states", "component", component, "error", err)
	}
	for _, entry := range slices.Backward(entries) {
		if u, err = e.Offer(ctx, component, i, entry.Generation); err != nil {
			e.Log.Warn("saved state cannot be used", "component", component, "generation", entry.Generation, "error", err)
			continue
		}
		return u, fmt.Sprintf("generation %d, saved at %s from version %s", entry.Generation, entry.Time.UTC().Format(time.RFC3339), entry.Version), true
	}
	return u, "", false
}

// Reinstate hands a saved state to a component that does not run.
func (e *Engine) Reinstate(ctx context.Context, u Update) error {
	u.New = 0
	if err := e.restored(ctx, &u); err != nil {
		return err
	}
	return errors.Join(e.hand(ctx, &u, u.New, u.To), e.drop(&u, u.New))
}

// gone reports whether the component has lost its live state.
func (e *Engine) gone(ctx context.Context, h *updater.Client, u *Update) bool {
	if !h.Capabilities().Status || u.From.Schema == 0 {
		return false
	}
	status, err := h.Status(ctx, updater.StatusRequest{Component: u.Component})
	return err == nil && status.NoState
}

// errGone turns an update back before it takes an empty state for the real one.
var errGone = errors.New("the live state of the component is gone; the installed version goes on with the newest saved one, if any is kept")

// putBack gives the old version, before it starts, the newest saved state if
// its live one is gone.
func (e *Engine) putBack(ctx context.Context, h *updater.Client, u *Update) error {
	if !e.gone(ctx, h, u) {
		return nil
	}
	saved, which, found := e.LastSaved(ctx, u.Component, u.From)
	if ctx.Err() != nil {
		return context.Cause(ctx) // it may not have been looked at
	}
	e.Log.Error("the live state is gone", "component", u.Component, "reinstated", which)
	if !found {
		return nil
	}
	return e.Reinstate(ctx, saved)
}

// Repair puts the files of the installed version in place again, and returns
// what is installed then. The state is not touched.
func (e *Engine) Repair(ctx context.Context, component string, i Installed) (Installed, error) {
	i, err := e.Describe(ctx, component, i)
	if err != nil {
		return i, err
	}
	u := &Update{Component: component, To: i}
	for _, do := range []func(context.Context, *Update) error{e.download, e.verify, e.stage} {
		if err := do(ctx, u); err != nil {
			return i, fmt.Errorf("cannot put %s %s in place again: %w", component, i.Version, err)
		}
	}
	h, err := e.updater(ctx, u)
	if err == nil {
		err = h.Switch(ctx, updater.SwitchRequest{Component: component, Handle: u.To.Handle})
	}
	if err == nil {
		err = e.Inventory.Commit(component, u.To)
	}
	return u.To, errors.Join(err, e.collect(component))
}
