package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// What a wish can say about the state of the version it asks for.
const (
	StateTransform = "transform" // the present state, transformed; "" means the same
	StateSaved     = "saved"     // the newest state that this version has left behind
	StateOptional  = "optional"  // the present state if it can be saved, and else an empty one: see [Update.forsakes]
)

// A Previous is the version that the installed one has replaced, and what
// leads back to it.
type Previous struct {
	Version    string           `json:"version"`
	Schema     int              `json:"schema,omitempty"`
	Epoch      int              `json:"epoch,omitempty"`
	Digest     string           `json:"digest,omitempty"`
	Saved      state.Generation `json:"saved,omitempty"` // its last state; 0: it had none
	Transforms string           `json:"transforms,omitempty"`
}

// Values of Previous.Transforms.
const (
	transformsWhole = "whole" // they lead back
	transformsLossy = "lossy" // they lead back, and one of them, or of those that led here, loses something
)

// A WayBack tells how a component can go back to its previous version, before
// it does.
type WayBack struct {
	Version string    `json:"version"`
	Schema  int       `json:"schema,omitempty"`
	Way     string    `json:"way"`             // a constant below
	State   string    `json:"state,omitempty"` // what a wish for the previous version has to say, see [Wish]
	SavedAt time.Time `json:"savedAt,omitzero"`
	Loses   string    `json:"loses"`   // in words; what is in the way if Way is WayNone
	Package string    `json:"package"` // digest of the manifest
	Kept    bool      `json:"kept"`    // the package is on the device; else it is fetched again
}

// The ways back.
const (
	WayTransforms = "transforms"  // the present state goes through the inverse transforms
	WaySaved      = "saved state" // the state from before the update
	WayStateless  = "no state"    // the previous version had none
	WayNone       = "none"        // neither transforms nor a saved state
)

// previous is what will be the previous version once u is committed.
func (e *Engine) previous(u *Update) *Previous {
	switch {
	case u.From.Version == "" || u.Wish.Remove == RemovePurge:
		return nil
	case u.same():
		return u.From.Previous
	}
	p := &Previous{Version: u.From.Version, Schema: u.From.Schema, Epoch: u.From.Epoch, Digest: u.From.Digest, Saved: u.kept()}
	if u.From.Schema == 0 || u.To.Schema == 0 {
		return p
	}
	edges := e.edges(u.To.Digest, u.From.Digest)
	back, err := pack.Chain(edges, u.To.Schema, u.From.Schema)
	if err != nil {
		return p
	}
	p.Transforms = transformsWhole
	forth, _ := pack.Chain(edges, u.From.Schema, u.To.Schema) // what they have lost cannot come back
	if slices.ContainsFunc(slices.Concat(forth, back), func(t pack.Transform) bool { return t.Lossy }) {
		p.Transforms = transformsLossy
	}
	return p
}

// edges are the transforms that come with packages; those that are not there
// have none.
func (e *Engine) edges(digests ...string) (all []pack.Transform) {
	for _, digest := range digests {
		if p, err := e.load(digest); err == nil {
			all = append(all, p.Transforms...)
		}
	}
	return all
}

// WayBack tells how a component goes back to the version before the installed
// one; nil if there was none.
func (e *Engine) WayBack(component string, i Installed) *WayBack {
	p := i.Previous
	if p == nil {
		return nil
	}
	w := &WayBack{Version: p.Version, Schema: p.Schema, Package: p.Digest, Kept: e.kept(p.Digest)}
	saved, err := e.lastOf(component, p.Version, p.Schema)
	if err == nil {
		w.SavedAt = saved.Time
	}
	switch {
	case p.Epoch < i.Epoch:
		w.Way, w.Loses = WayNone, fmt.Sprintf("security epoch %d of it is below %d, which is installed", p.Epoch, i.Epoch)
	case p.Schema == 0:
		w.Way, w.State, w.Loses = WayStateless, StateTransform, "nothing: it had no state"
	case p.Transforms == transformsWhole:
		w.Way, w.State, w.Loses = WayTransforms, StateTransform, "nothing"
	case err == nil && i.Version == "":
		w.Way, w.State, w.Loses = WaySaved, StateSaved, "nothing: it has been removed since"
	case err == nil:
		w.Way, w.State = WaySaved, StateSaved
		w.Loses = "whatever the component has stored since " + saved.Time.UTC().Format(time.RFC3339)
	case p.Transforms == transformsLossy:
		w.Way, w.State, w.Loses = WayTransforms, StateTransform, "what the transforms drop: their author says that they lose something"
	default:
		w.Way, w.Loses = WayNone, "no transforms lead back, and its last state is not kept"
	}
	return w
}

// Note says in one sentence what is lost on the way, and where the package
// comes from.
func (w *WayBack) Note() string {
	switch {
	case w.Way == WayNone:
		return w.Loses
	case w.Kept:
		return "loses " + w.Loses + "; its package is kept on the device"
	}
	return "loses " + w.Loses + "; its package is fetched again from the file server"
}

// kept reports whether a package can be installed without the file server.
func (e *Engine) kept(digest string) bool {
	p, err := e.load(digest)
	if err != nil {
		return false
	}
	blobs, _, err := e.needed(p)
	return err == nil && !slices.ContainsFunc(blobs, func(b pack.Descriptor) bool {
		_, err := e.Content.Path(b.Digest)
		return err != nil
	})
}

// lastOf returns the newest saved state of a version.
func (e *Engine) lastOf(component, version string, schema int) (state.Entry, error) {
	entries, err := e.Transform.List(component, state.Needs{})
	if err != nil {
		return state.Entry{}, err
	}
	for _, entry := range slices.Backward(entries) {
		if entry.Version == version && entry.Schema == schema {
			return entry, nil
		}
	}
	return state.Entry{}, fmt.Errorf("no saved state of version %s is kept", version)
}

// Needs lists the generations that an installed version may be taken back to.
func (i Installed) Needs() state.Needs {
	n := state.Needs{Held: i.Held}
	if i.Previous != nil && i.Previous.Saved != 0 {
		n.Back = []state.Generation{i.Previous.Saved}
	}
	return n
}

// held are the generations that stay once u is committed: a restore that was
// a mistake can be undone, and so can the next one.
func (u *Update) held() []state.Generation {
	if u.Restore == 0 {
		return nil
	}
	var all []state.Generation
	if u.same() {
		all = append(all, u.From.Held...)
	}
	for _, gen := range []state.Generation{u.kept(), u.Restore} {
		if gen != 0 && !slices.Contains(all, gen) {
			all = append(all, gen)
		}
	}
	return all
}

// same reports whether the version stays, and its state alone is replaced.
func (u *Update) same() bool { return u.From.Version != "" && u.From.Version == u.To.Version }

// errNoRestore refuses to restore onto nothing.
var errNoRestore = errors.New("nothing is installed that could take a state, or it has none")

// resolveRestore looks at the saved state that u is to bring back.
func (e *Engine) resolveRestore(ctx context.Context, u *Update) error {
	u.To = u.From
	if u.From.Version == "" || u.From.Schema == 0 {
		return errNoRestore
	}
	if _, err := e.Describe(ctx, u.Component, u.From); err != nil {
		e.Log.Warn("the installed package is incomplete", "component", u.Component, "error", err)
	}
	p, err := e.load(u.To.Digest)
	if err != nil {
		return err
	}
	return e.choose(ctx, u, p, u.Restore)
}

// resolveSaved finds the state that the wished version has left behind.
func (e *Engine) resolveSaved(ctx context.Context, u *Update, p *pack.Package) error {
	if u.Restore == 0 {
		entry, err := e.lastOf(u.Component, u.To.Version, u.To.Schema)
		if err != nil {
			return err
		}
		u.Restore = entry.Generation
	}
	return e.choose(ctx, u, p, u.Restore)
}

// choose checks that a saved state is whole and can become that of a package.
func (e *Engine) choose(ctx context.Context, u *Update, p *pack.Package, gen state.Generation) error {
	_, meta, err := e.States.Load(ctx, u.Component, gen)
	if err != nil {
		entries, _ := e.Transform.List(u.Component, state.Needs{})
		return state.Missing(err, u.Component, gen, entries)
	}
	u.RestoreSchema = meta.Schema
	_, err = e.chain(u, p)
	return err
}

// restored makes the state of the new version from the chosen generation.
// Nobody changes that one, so it happens while the component serves.
func (e *Engine) restored(ctx context.Context, u *Update) error {
	if u.New == 0 {
		gen, err := e.States.Next(u.Component)
		if err != nil {
			return err
		}
		u.New = gen
	}
	if _, _, err := e.States.Load(ctx, u.Component, u.New); err == nil {
		return nil
	}
	steps, err := e.plan(u)
	if err != nil {
		return err
	}
	if _, err := e.Transform.Transform(ctx, u.Component, u.Restore, u.New, steps, share(ctx)); err != nil {
		return err
	}
	return e.seal(ctx, u, u.New, u.To)
}

// manifest returns what the source has for a reference, or the device itself:
// of a digest there is but one manifest, and the previous version can be had
// without the file server if its package was kept.
func (e *Engine) manifest(ctx context.Context, u *Update, reference string) ([]byte, error) {
	if pack.CheckDigest(reference) == nil {
		if manifest, err := e.read(reference, maxManifest); err == nil && pack.DigestOf(manifest) == reference {
			return manifest, nil
		}
	}
	manifest, err := e.Source.Manifest(ctx, u.Component, reference)
	if back := u.From.Previous; err != nil && passing(err) && back != nil && back.Version == reference && e.kept(back.Digest) {
		e.Log.Info("the file server does not answer; the package was kept", "component", u.Component, "version", reference)
		return e.read(back.Digest, maxManifest)
	}
	return manifest, err
}
