package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// saves reports whether there is a state to save.
func (u *Update) saves() bool { return u.From.Version != "" && u.From.Schema > 0 }

// transforms reports whether the new version takes over the state of the old.
func (u *Update) transforms() bool {
	return u.Restore != 0 || u.saves() && u.To.Schema > 0 && !u.empties()
}

// schema is that of the state which the new version's state is made from.
func (u *Update) schema() int {
	if u.Restore != 0 {
		return u.RestoreSchema
	}
	return u.From.Schema
}

// updater returns the updater for the component's type.
func (e *Engine) updater(ctx context.Context, u *Update) (*updater.Client, error) {
	kind, _, _ := strings.Cut(u.Component, "/")
	return e.Updater(ctx, kind)
}

// load reads a package's description from the content store.
func (e *Engine) load(digest string) (*pack.Package, error) {
	manifest, err := e.read(digest, maxManifest)
	if err != nil {
		return nil, err
	}
	config, err := pack.ConfigOf(manifest)
	if err != nil {
		return nil, err
	}
	b, err := e.read(config.Digest, maxManifest)
	if err != nil {
		return nil, err
	}
	return pack.Parse(manifest, b)
}

// maxManifest bounds what is read into memory, in bytes.
const maxManifest = 4 << 20

func (e *Engine) read(digest string, limit int64) ([]byte, error) {
	f, err := e.Content.Open(digest)
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

// needed lists the blobs that this device needs of a package, and their size.
func (e *Engine) needed(p *pack.Package) ([]pack.Descriptor, int64, error) {
	return Needed(p, e.Platform)
}

// Needed lists the blobs that a device of that platform needs of a package, and
// their size.
func Needed(p *pack.Package, on pack.Platform) ([]pack.Descriptor, int64, error) {
	artifact, err := p.Artifact(on)
	if err != nil {
		return nil, 0, err
	}
	blobs := []pack.Descriptor{p.Config, artifact.Descriptor}
	for _, t := range p.Transforms {
		for _, b := range t.Blobs() {
			if !slices.Contains(blobs, b) {
				blobs = append(blobs, b)
			}
		}
	}
	var total int64
	for _, b := range blobs {
		total += b.Size
	}
	return blobs, total, nil
}

// chain finds the transforms from the installed state schema to the new one.
// The installed package's transforms count as well: it is the newer package
// that knows the way back.
func (e *Engine) chain(u *Update, p *pack.Package) ([]pack.Transform, error) {
	if !u.transforms() {
		return nil, nil
	}
	edges := slices.Concat(p.Transforms, e.edges(u.From.Digest))
	forth, err := pack.Chain(edges, u.schema(), u.To.Schema)
	if err != nil || u.Restore != 0 {
		return forth, err
	}
	lossy := slices.ContainsFunc(forth, func(t pack.Transform) bool { return t.Lossy })
	if _, err := pack.Chain(edges, u.To.Schema, u.From.Schema); err != nil && !lossy {
		return nil, fmt.Errorf("no way back, and no transform declared lossy: %w", err)
	}
	return forth, nil
}

// plan makes the chain ready for the sandbox.
func (e *Engine) plan(u *Update) ([]host.Step, error) {
	p, err := e.load(u.To.Digest)
	if err != nil {
		return nil, err
	}
	chain, err := e.chain(u, p)
	if err != nil {
		return nil, err
	}
	steps := make([]host.Step, len(chain))
	for i, t := range chain {
		path, err := e.Content.Path(t.Digest)
		if err != nil {
			return nil, err
		}
		schema, err := e.jsonSchema(t)
		if err != nil {
			return nil, err
		}
		steps[i] = host.Step{
			Module: path, Digest: t.Digest, From: t.From, To: t.To, Mode: t.Mode,
			Files: t.Files, Format: t.Format, Split: t.Split, Schema: schema, Params: t.Params, Limits: limits(t.Limits),
		}
	}
	return steps, nil
}

// limits are what a package says that a transform needs.
func limits(l pack.TransformLimits) host.Limits {
	return host.Limits{Memory: l.Memory, CPU: time.Duration(l.CPU), Wall: time.Duration(l.Wall), Output: l.Output}
}

// jsonSchema returns what the result of a transform is held against; nil if
// there is nothing.
func (e *Engine) jsonSchema(t pack.Transform) ([]byte, error) {
	if t.SchemaBlob.Digest == "" {
		return t.Schema, nil
	}
	f, err := e.Content.Open(t.SchemaBlob.Digest)
	if err != nil {
		return nil, fmt.Errorf("cannot read schema: %w", err)
	}
	defer f.Close()
	schema, err := io.ReadAll(pack.NewVerifyReader(f, t.SchemaBlob)) // its size is bounded, see pack.MaxSchemaSize
	if err != nil {
		return nil, fmt.Errorf("cannot read schema: %w", err)
	}
	return schema, nil
}

// seal declares a generation complete.
func (e *Engine) seal(ctx context.Context, u *Update, gen state.Generation, of Installed) error {
	return e.States.Seal(ctx, u.Component, gen, state.Meta{Schema: of.Schema, Version: of.Version, Package: of.Digest, Time: time.Now().UTC()})
}

// drop removes generations; 0 stands for one that was never made.
func (e *Engine) drop(u *Update, generations ...state.Generation) error {
	var errs []error
	for _, gen := range generations {
		if gen != 0 {
			errs = append(errs, e.States.Drop(u.Component, gen))
		}
	}
	return errors.Join(errs...)
}

// share turns the progress of a transform into that of the step.
func share(ctx context.Context) func(done, total int64) {
	return func(done, total int64) { progress(ctx, float64(done)/float64(max(total, 1))) }
}

// target is the version that u is about, known or only wished for.
func (u *Update) target() string { return cmp.Or(u.To.Version, u.Wish.Version) }

// vouch asks whether somebody who may has signed for a package: before it is
// fetched, and once more before the component is disturbed, since days may have
// passed by then. What is trusted there does not expire in the middle.
func (e *Engine) vouch(ctx context.Context, u *Update, p *pack.Package) (err error) {
	if e.Vouch != nil {
		u.Doubt, err = e.Vouch(ctx, *u, p)
		u.Unsigned = err != nil
	}
	return err
}

// vouchAgain waits while nobody can be asked: an update that has waited must not
// outlive the withdrawal of its package because somebody keeps that from the
// device.
func (e *Engine) vouchAgain(ctx context.Context, u *Update) error {
	if e.Vouch == nil || u.packageless() {
		return nil
	}
	p, err := e.load(u.To.Digest)
	if err == nil {
		err = e.vouch(ctx, u, p)
	}
	if later, is := errors.AsType[Retry](err); is {
		return Wait{For: "news whether its package is still signed for: " + later.Error(), Poll: true}
	}
	return err
}

// notice has the outcome say something, once.
func (u *Update) notice(text string) {
	if !slices.Contains(u.Notices, text) {
		u.Notices = append(u.Notices, text)
	}
}

// warnings are what the rehearsal and the download have found, and what is in doubt.
func (u *Update) warnings() []string {
	all := slices.Concat(u.Warnings, u.Notices)
	if u.Doubt != "" {
		all = append(all, u.Doubt)
	}
	return all
}

// outcome describes how u ended.
func (u *Update) outcome(result string) Outcome {
	var stopped []string
	if u.Down != (Moment{}) {
		stopped = slices.Clone(u.Halted)
	}
	return Outcome{
		Stopped: stopped, Repair: u.Repair,
		Update: u.ID, Component: u.Component, Kind: u.Kind(), Wish: u.Wish, From: u.From.Version, To: u.target(), Result: result,
		Downtime: u.Downtime, Predicted: u.Predicted, Forced: u.Forced, Rest: u.Rest, Warnings: u.warnings(), Unsigned: u.Unsigned, At: time.Now().UTC(),
	}
}

// Intact reads blobs from the disk; an error says which of them is not what was
// promised.
func Intact(ctx context.Context, open func(digest string) (*os.File, error), blobs []pack.Descriptor) error {
	for _, b := range blobs {
		f, err := open(b.Digest)
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { f.Close() })
		_, err = io.Copy(io.Discard, pack.NewVerifyReader(f, b))
		if !stop() {
			return context.Cause(ctx)
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
