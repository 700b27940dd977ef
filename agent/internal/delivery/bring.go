package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

var (
	// ErrUnsupported says that a package is none, or does not fit.
	ErrUnsupported = errors.New("package cannot be used")
	// ErrLost says that the server has not sent all of a package.
	ErrLost = errors.New("the package did not come whole: send it again")
)

// pull fetches a package from its URI.
func (k *Desk) pull(ctx context.Context, component string, d engine.Delivery) error {
	remote, err := k.Locate(d.URI, d.User, d.Password)
	if err != nil {
		return err
	}
	defer remote.Close()
	if remote.Single() {
		file := remote.File(ctx)
		defer file.Close()
		return k.unpack(component, d, file)
	}
	manifest, err := remote.Manifest(ctx)
	if err != nil {
		return err
	}
	config, err := pack.ConfigOf(manifest)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	digest := pack.DigestOf(manifest)
	k.Content.Hold(holder(component, d.Number), digest, config.Digest)
	if err := errors.Join(k.keep(digest, manifest), remote.Blob(ctx, config.Digest, config.Size)); err != nil {
		return err
	}
	needed, err := k.accept(component, d, digest)
	if err != nil {
		return err
	}
	for _, b := range needed {
		if err := remote.Blob(ctx, b.Digest, b.Size); err != nil {
			return err
		}
	}
	return nil
}

// unpack takes the package that r is, in its single-file form, as it comes. If r
// can seek, what is here already is passed over.
func (k *Desk) unpack(component string, d engine.Delivery, r io.Reader) error {
	_, err := k.take(component, d.Number, r, func(p *pack.Package) ([]pack.Descriptor, error) { return k.accept(component, d, p.Digest) })
	return err
}

// take is unpack for whatever number; accept lists what is needed of the package, or
// refuses it before that comes.
func (k *Desk) take(component string, number int, r io.Reader, accept func(*pack.Package) ([]pack.Descriptor, error)) (*pack.Package, error) {
	s, err := pack.NewStream(r)
	if err != nil {
		return nil, unsupported(err)
	}
	digest := s.Package.Digest
	k.Content.Hold(holder(component, number), digest, s.Package.Config.Digest)
	if err := errors.Join(k.keep(digest, s.Manifest), k.keep(s.Package.Config.Digest, s.Config)); err != nil {
		return nil, err
	}
	needed, err := accept(s.Package)
	if err != nil {
		return nil, err
	}
	wanted := map[pack.Descriptor]bool{}
	for _, b := range needed {
		wanted[b] = b.Digest != s.Package.Config.Digest
	}
	for {
		layer, err := s.Next()
		if errors.Is(err, io.EOF) {
			return s.Package, nil
		}
		if err != nil {
			return nil, unsupported(err)
		}
		if !wanted[layer] {
			continue
		}
		err = k.Content.Receive(layer.Digest, layer.Size, func(have int64, w io.Writer) error {
			from, err := s.From(have)
			if err == nil {
				_, err = io.Copy(w, from)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
}

// unsupported marks what is no package; where it comes from may have failed
// instead.
func unsupported(err error) error { return fmt.Errorf("%w: %w", ErrUnsupported, err) }

// accept notes which package it is that comes, if it fits.
func (k *Desk) accept(component string, of engine.Delivery, digest string) ([]pack.Descriptor, error) {
	p, needed, err := k.fits(component, of.Number, digest)
	if err != nil {
		return nil, err
	}
	return needed, k.change(component, func(_ engine.View, d engine.Delivery) (engine.Delivery, error) {
		if d.Number != of.Number {
			return d, engine.ErrNotNow
		}
		d.Package, d.Version = digest, p.Manifest.Version
		return d, nil
	})
}

// keep puts a small blob into the content store.
func (k *Desk) keep(digest string, b []byte) error {
	return k.Content.Receive(digest, int64(len(b)), func(have int64, w io.Writer) error {
		_, err := w.Write(b[have:])
		return err
	})
}

// fits reads the package's description, which is here, and refuses it before its
// bytes come if it does not fit the component, the device or the disk.
func (k *Desk) fits(component string, number int, digest string) (*pack.Package, []pack.Descriptor, error) {
	p, err := k.load(digest)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if own := p.Manifest.Component(); own != component {
		return nil, nil, fmt.Errorf("%w: it is for %s, not for %s", ErrUnsupported, own, component)
	}
	needed, _, err := engine.Needed(p, k.Platform)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	k.hold(component, number, digest, needed)
	var missing int64
	for _, b := range needed {
		if !k.Content.Has(b.Digest) {
			missing += b.Size
		}
	}
	return p, needed, k.Content.Reserve(missing, int64(len(needed)))
}

func (k *Desk) hold(component string, number int, digest string, needed []pack.Descriptor) {
	held := []string{digest}
	for _, b := range needed {
		held = append(held, b.Digest)
	}
	k.Content.Hold(holder(component, number), held...)
}

// load reads a package's description from the content store.
func (k *Desk) load(digest string) (*pack.Package, error) {
	manifest, err := k.read(digest, pack.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	config, err := pack.ConfigOf(manifest)
	if err != nil {
		return nil, err
	}
	b, err := k.read(config.Digest, pack.MaxConfigSize)
	if err != nil {
		return nil, err
	}
	return pack.Parse(manifest, b)
}

func (k *Desk) read(digest string, limit int64) ([]byte, error) {
	f, err := k.Content.Open(digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err == nil && pack.DigestOf(b) != digest {
		err = fmt.Errorf("%s: %w", digest, pack.ErrDigest)
	}
	return b, err
}

// needed lists what a package that is here consists of.
func (k *Desk) needed(digest string) ([]pack.Descriptor, error) {
	p, err := k.load(digest)
	if err != nil {
		return nil, err
	}
	needed, _, err := engine.Needed(p, k.Platform)
	return needed, err
}

// verify reads again all that has come, from the disk.
func (k *Desk) verify(ctx context.Context, component string) error {
	v, err := k.Book.View(component)
	if err != nil {
		return err
	}
	_, needed, err := k.fits(component, v.Delivery.Number, v.Delivery.Package)
	if err != nil {
		return err
	}
	return engine.Intact(ctx, k.Content.Open, needed)
}
