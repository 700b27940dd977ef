package engine

import (
	"context"
	"errors"
	"fmt"
	"io"

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
		if err := e.Source.Blob(ctx, component, t.Digest, t.Size, nil); err != nil {
			return i, fmt.Errorf("cannot bring back a transform of %s %s: %w", component, i.Version, err)
		}
	}
	return Installed{
		Version: p.Manifest.Version, Schema: p.Manifest.Schema(), Epoch: p.Manifest.Epoch, Digest: p.Digest, Handle: i.Handle,
		Previous: i.Previous,
	}, nil
}

// describe fetches the description of a package, by its digest if that is
// known.
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
	return e.load(pack.DigestOf(manifest))
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
