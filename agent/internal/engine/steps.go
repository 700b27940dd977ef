package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// An Engine holds what the steps work with. Updates of different components
// may run at the same time; two of one component may not.
type Engine struct {
	Journal    Journal
	Inventory  Inventory
	Source     Source
	Content    Content
	States     States
	Marks      Marks
	Transform  Transformer
	Rehearsals Rehearsals
	Dependants Dependants                                                           // nil: there are none
	Readings   Readings                                                             // nil: the components publish none
	Ready      func(ctx context.Context, component string, steps []host.Step) error // has sandboxes wait that have compiled the transforms; nil: there are none
	Updater    func(ctx context.Context, componentType string) (*updater.Client, error)
	Platform   pack.Platform
	Tell       func(Progress)                // hears of every step; must not block
	Announce   func(context.Context, string) // returns when the twin knows the component's state, or ctx ends
	Log        *slog.Logger
	Short      func(component string) error                                           // what the disk that holds it lacks, and what to do; nil: nothing, or nobody can tell
	Vouch      func(context.Context, Update, *pack.Package) (doubt string, err error) // why nobody may install a package, or what is in doubt; nil: all may be
	Turn       Turn                                                                   // of a download or rehearsal; nil: nobody else waits
	Permit     func(Update) error                                                     // nil, a Wait, or why the update may never disturb its component; nil permits all
	Boot       func(component string) string                                          // the identity of the present boot of what it runs on; nil: of the device, see package boot
	Reboot     func(component string)                                                 // hears that an update waits for the next boot; nil: somebody else sees to that

	// KeepPackages has the packages of the installed and the previous versions
	// stay on the device, for a way back without the file server.
	KeepPackages bool
	// KeepBase has the artifact of the installed version stay, for deltas to make the
	// next one of.
	KeepBase bool

	firstPause time.Duration // before the second try; 0 is 0.1 s
	cancels    cancels
}

// An Inventory remembers what is installed, what updates have taken, and the
// outcomes that nobody has acknowledged. All is durable when the calls return.
type Inventory interface {
	Commit(component string, i Installed) error
	Everything() (map[string]Installed, error)
	Report(Outcome) error
	// Timings of the last updates of a component, oldest first.
	Timings(component string) ([]Timing, error)
	AddTiming(component string, t Timing) error
}

// A Source is where packages come from. Passing errors are a [Retry].
type Source interface {
	// Manifest returns the OCI manifest of a version, a digest or a file name.
	Manifest(ctx context.Context, component, reference string) ([]byte, error)
	// Blob brings a blob into the content store, resuming what is there.
	Blob(ctx context.Context, component, digest string, size int64, progress func(done, total int64)) error
}

// Content is the store of blobs by digest.
type Content interface {
	Receive(digest string, size int64, fill func(have int64, w io.Writer) error) error
	Open(digest string) (*os.File, error)
	Path(digest string) (string, error)
	Reserve(bytes, files int64) error
	Collect(keep []string) (freed int64, err error)
}

// States keeps the generations of the components' states.
type States interface {
	Next(component string) (state.Generation, error)
	Fresh(component string, gen state.Generation) (dir string, err error)
	Seal(ctx context.Context, component string, gen state.Generation, meta state.Meta) error
	Load(ctx context.Context, component string, gen state.Generation) (dir string, meta state.Meta, err error)
	Drop(component string, gen state.Generation) error
}

// Rehearsals are made on snapshots of the live state. Release drops these: see
// [Engine.Begin].
type Rehearsals interface {
	Rehearse(ctx context.Context, component string, live state.Generation, steps []host.Step, progress func(done, total int64), pause func() error) (state.Rehearsed, error)
	Settle(component string, live state.Generation) (snapshot string, err error)
	Release(component string) error
}

// A Transformer makes one generation from another, and retires old ones.
type Transformer interface {
	Transform(ctx context.Context, component string, from, to state.Generation, steps []host.Step, progress func(done, total int64)) (host.Report, error)
	List(component string, needs state.Needs) ([]state.Entry, error)
	Prune(component string, needs state.Needs) error // by retention, but not what is needed
}

// Readings are what a component publishes. Before it is stopped its last ones
// are made sure of.
type Readings interface {
	Closing(component string) error
	Closed(component string)
	Open(component string)
}

// resolve finds the package and decides whether it may be installed.
func (e *Engine) resolve(ctx context.Context, u *Update) error {
	if u.Restore != 0 && u.Wish == (Wish{}) {
		return e.resolveRestore(ctx, u)
	}
	if u.removes() {
		return e.resolveRemoval(u)
	}
	reference := u.Wish.Package
	if reference == "" {
		reference = u.Wish.Version
	}
	manifest, err := e.manifest(ctx, u, reference)
	if err != nil {
		return err
	}
	config, err := pack.ConfigOf(manifest)
	if err != nil {
		return err
	}
	if err := e.Source.Blob(ctx, u.Component, config.Digest, config.Size, nil); err != nil {
		return err
	}
	b, err := e.read(config.Digest, maxManifest)
	if err != nil {
		return err
	}
	p, err := pack.Parse(manifest, b)
	if err != nil {
		return err
	}
	if u.From.Digest != "" {
		if _, err := e.Describe(ctx, u.Component, u.From); err != nil {
			e.Log.Warn("the installed package is incomplete", "component", u.Component, "error", err)
		}
	}
	u.To = Installed{Version: p.Manifest.Version, Schema: p.Manifest.Schema(), Epoch: p.Manifest.Epoch, Digest: p.Digest}
	u.Requires = p.Manifest.Requires
	if err := e.fits(ctx, u, p); err != nil {
		return err
	}
	if err := cmp.Or(e.vouch(ctx, u, p), e.hopeless(u)); err != nil {
		return err
	}
	return e.Content.Receive(p.Digest, int64(len(manifest)), func(have int64, w io.Writer) error {
		_, err := w.Write(manifest[have:])
		return err
	})
}

// fits refuses a package that does not fit the wish, the device, or what is
// installed.
func (e *Engine) fits(ctx context.Context, u *Update, p *pack.Package) error {
	m := p.Manifest
	switch {
	case m.Component() != u.Component:
		return fmt.Errorf("the package is for %s, not for %s", m.Component(), u.Component)
	case u.Wish.Version != "" && m.Version != u.Wish.Version:
		return fmt.Errorf("the package holds version %s, not %s", m.Version, u.Wish.Version)
	case m.Version == u.From.Version && u.From.Digest != "" && p.Digest != u.From.Digest:
		return fmt.Errorf("version %s is installed already, from the package %s: another package needs another version", m.Version, u.From.Digest)
	case m.Version == u.From.Version:
		return fmt.Errorf("version %s is installed already", m.Version)
	case m.Epoch < u.From.Epoch:
		return fmt.Errorf("security epoch %d of the package is below %d, which is installed", m.Epoch, u.From.Epoch)
	}
	if _, err := p.Artifact(e.Platform); err != nil {
		return err
	}
	if err := e.admitState(ctx, u, p); err != nil {
		return err
	}
	h, err := e.updater(ctx, u)
	if err != nil {
		return err
	}
	if m.Schema() > 0 && !h.Capabilities().State {
		return fmt.Errorf("the updater for %s cannot handle state, which the package has", m.Type)
	}
	return nil
}

// admitState refuses a package that cannot take over the state it shall have.
func (e *Engine) admitState(ctx context.Context, u *Update, p *pack.Package) error {
	if u.Wish.State == StateSaved {
		return e.resolveSaved(ctx, u, p)
	}
	_, err := e.chain(u, p)
	if err == nil || !u.transforms() {
		return err
	}
	if _, none := e.lastOf(u.Component, u.To.Version, u.To.Schema); none == nil {
		err = fmt.Errorf("%w; the last state of version %s is kept: ask for it with state %q", err, u.To.Version, StateSaved)
	}
	return err
}

// download brings the artifact for this device and all transforms: also those
// of the way back, since nobody may be able to fetch them when it is needed.
func (e *Engine) download(ctx context.Context, u *Update) error {
	if u.packageless() {
		return nil
	}
	p, err := e.load(u.To.Digest)
	if err != nil {
		return err
	}
	blobs, total, err := e.needed(p)
	if err != nil {
		return err
	}
	return e.inTurns(ctx, u, func(ctx context.Context) error {
		ctx = context.WithValue(ctx, noticeKey{}, u.notice)
		var before int64
		var g gauge
		for _, b := range blobs {
			tell := func(done, _ int64) {
				u.Fetched, u.Size, u.Slow = before+done, total, g.slow(before+done, time.Now())
				progress(ctx, float64(u.Fetched)/float64(max(total, 1)))
			}
			if err := e.Source.Blob(ctx, u.Component, b.Digest, b.Size, tell); err != nil {
				return err
			}
			before += b.Size
		}
		return nil
	})
}

// verify reads every blob again from the disk: what is staged is what was
// promised, and there is room for it.
func (e *Engine) verify(ctx context.Context, u *Update) error {
	if u.packageless() {
		return nil
	}
	p, err := e.load(u.To.Digest)
	if err != nil {
		return err
	}
	blobs, _, err := e.needed(p)
	if err != nil {
		return err
	}
	if err := Intact(ctx, e.Content.Open, blobs); err != nil {
		return err
	}
	artifact, err := p.Artifact(e.Platform)
	if err != nil {
		return err
	}
	unpacked, err := e.unpacked(ctx, artifact)
	if err != nil {
		return err
	}
	return e.Content.Reserve(unpacked, 1) // how many files that are is seen when it is unpacked
}

// unpacked is how many bytes an artifact unpacks to: no more than its package says.
func (e *Engine) unpacked(ctx context.Context, a pack.Artifact) (int64, error) {
	f, err := e.Content.Open(a.Digest)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.Close() })()
	bytes, err := pack.VerifyArtifact(f, a)
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if err != nil {
		err = fmt.Errorf("the artifact is not what the package says: %w", err)
	}
	return bytes, err
}

// discard drops the blobs of a package that will not be installed.
func (e *Engine) discard(_ context.Context, u *Update) error { return e.collect(u.Component) }

func (e *Engine) stage(ctx context.Context, u *Update) error {
	if u.packageless() {
		return nil
	}
	p, err := e.load(u.To.Digest)
	if err != nil {
		return err
	}
	artifact, err := p.Artifact(e.Platform)
	if err != nil {
		return err
	}
	path, err := e.Content.Path(artifact.Digest)
	if err != nil {
		return err
	}
	h, err := e.updater(ctx, u)
	if err != nil {
		return err
	}
	staged, err := h.Stage(ctx, updater.StageRequest{
		Component: u.Component, Version: u.To.Version, Artifact: path,
		MediaType: artifact.MediaType, Settings: p.Manifest.Settings,
	})
	u.To.Handle = staged.Handle
	return err
}

func (e *Engine) unstage(ctx context.Context, u *Update) error {
	if u.packageless() {
		return nil
	}
	h, err := e.updater(ctx, u)
	if err != nil {
		return err
	}
	return h.Unstage(ctx, updater.UnstageRequest{Component: u.Component, Version: u.To.Version, Handle: u.To.Handle})
}

// rehearse transforms a live snapshot of the state. A bad transform fails
// here, while the component serves; what it makes is kept, so that only what
// changes from now on is left to do; and the time that would take now predicts
// the downtime. The snapshot may be torn, so a failure is tried again with
// another one, if that can have a part in it. One that takes hours lets others have
// their turns.
func (e *Engine) rehearse(ctx context.Context, u *Update) error {
	if u.removes() { // it does not come back
		u.Rehearsed = now()
		return nil
	}
	p, err := e.load(u.To.Digest)
	if err != nil {
		return err
	}
	found, err := e.rehearsal(ctx, u)
	if _, waits := errors.AsType[Wait](err); waits || lasting(err) {
		return err
	}
	if err != nil {
		return Retry{Err: err}
	}
	past, err := e.Inventory.Timings(u.Component)
	if err != nil {
		return err
	}
	u.Expected, u.Predicted, u.Rehearsed, u.Warnings = found.Took, predict(found.Took, past), now(), found.Warnings
	if len(past) == 0 { // the author knows better than nobody
		u.Predicted = max(u.Predicted, time.Duration(p.Manifest.Downtime))
	}
	if limit := time.Duration(p.Manifest.MaxDowntime); limit > 0 && u.Predicted > limit {
		return fmt.Errorf("the predicted downtime of %s is more than the %s that the package allows", u.Predicted.Round(time.Millisecond), limit)
	}
	return nil
}

func (e *Engine) rehearsal(ctx context.Context, u *Update) (found state.Rehearsed, err error) {
	h, err := e.updater(ctx, u)
	if err != nil {
		return found, err
	}
	if u.Restore != 0 || !h.Capabilities().Snapshot || !u.transforms() {
		if err := e.savable(ctx, h, u); err != nil || u.Restore == 0 {
			return found, err
		}
		return found, e.restored(ctx, u)
	}
	if err := e.drop(u, u.Rehearsal); err != nil {
		return found, err
	}
	if u.Rehearsal, err = e.States.Next(u.Component); err != nil {
		return found, err
	}
	dir, err := e.States.Fresh(u.Component, u.Rehearsal)
	if err != nil {
		return found, err
	}
	if err := h.Snapshot(ctx, updater.SnapshotRequest{Component: u.Component, Dir: dir}); err != nil {
		return found, e.unrehearsed(ctx, u, err)
	}
	if u.StateSize, u.StateFiles, err = sizeOf(dir); err != nil {
		return found, err
	}
	steps, err := e.plan(u)
	if err != nil {
		return found, err
	}
	turn, end := e.turn(ctx, u)
	defer end()
	return e.Rehearsals.Rehearse(ctx, u.Component, u.Rehearsal, steps, share(ctx), func() error {
		if over(ctx, turn) {
			return othersTurn()
		}
		return nil
	})
}

// savable finds out, while the component serves, whether its state is one that
// the updater can save: where there is nothing to rehearse, nobody else would
// before the component has stopped.
func (e *Engine) savable(ctx context.Context, h *updater.Client, u *Update) error {
	if !h.Capabilities().Snapshot || !u.saves() {
		return nil
	}
	gen, err := e.States.Next(u.Component)
	if err != nil {
		return err
	}
	dir, err := e.States.Fresh(u.Component, gen)
	if err != nil {
		return err
	}
	err = h.Snapshot(ctx, updater.SnapshotRequest{Component: u.Component, Dir: dir})
	if err != nil {
		err = e.unrehearsed(ctx, u, err)
	}
	return errors.Join(err, e.States.Drop(u.Component, gen))
}

// forget removes what the rehearsal has left.
func (e *Engine) forget(_ context.Context, u *Update) error {
	if err := e.drop(u, u.New); err != nil {
		return err
	}
	return e.Transform.Prune(u.Component, u.From.Needs())
}

// ready has what takes no part of the downtime behind it before that begins:
// sandboxes start and compile the transforms. One that does not compile ends
// the update here; that there is no sandbox yet does not.
func (e *Engine) ready(ctx context.Context, u *Update) error {
	if e.Ready == nil || !u.transforms() || u.Restore != 0 {
		return nil
	}
	steps, err := e.plan(u)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	err = e.Ready(limited, u.Component, steps)
	if bad, is := errors.AsType[*host.Error](err); is {
		return bad
	}
	if err != nil {
		e.Log.Warn("no sandbox waits for the transform", "update", u.ID, "component", u.Component, "error", err)
	}
	return nil
}

// readyTime is less than the step has.
const readyTime = 40 * time.Second

// announce tells the twin, and through it everybody, until when the component
// will be away. A device that is cut off updates all the same: its twin says
// what it said before, and is told when the connection is back.
func (e *Engine) announce(ctx context.Context, u *Update) error {
	if err := e.ready(ctx, u); err != nil {
		return err
	}
	if err := errors.Join(e.closing(u), e.number(u)); err != nil {
		return err
	}
	stopped, err := e.stops(u)
	if err != nil {
		return err
	}
	u.Halted = stopped
	u.Until, u.Announced = time.Now().UTC().Add(u.Predicted), now()
	progress(ctx, 1) // now with the time of return
	limited, cancel := context.WithTimeout(ctx, announceTime)
	defer cancel()
	e.Announce(limited, u.Component)
	return ctx.Err()
}

// announceTime is how long an update waits for the twin to hear of it.
const announceTime = 5 * time.Second

func (e *Engine) retract(_ context.Context, u *Update) error {
	u.Until, u.Announced = time.Time{}, Moment{}
	e.open(u)
	return nil
}

// Collect removes the blobs that nothing needs. No update may be under way, but
// those that wait lose nothing.
func (e *Engine) Collect() error { return e.collect("") }

// collect removes the blobs that nothing needs: of installed components, the
// package's own description and its transforms stay, for the way back, and the
// description of the version before; with KeepPackages all of both, with KeepBase the
// artifact of the installed ones. Of updates
// that wait, all stays that they have fetched; an update of the component
// itself has no further need of that.
func (e *Engine) collect(component string) error {
	installed, err := e.Inventory.Everything()
	if err != nil {
		return err
	}
	unfinished, err := e.Journal.Unfinished()
	if err != nil {
		return err
	}
	var keep []string
	for _, i := range installed {
		keep = append(keep, e.parts(i.Digest, true)...)
		if i.Previous != nil {
			keep = append(keep, e.parts(i.Previous.Digest, false)...)
		}
	}
	for _, r := range unfinished {
		if r.Format > RecordFormat {
			return nil // nobody here knows what that update needs
		}
		if r.Update.Component != component {
			keep = append(keep, e.fetched(r.Update.To.Digest)...)
		}
	}
	_, err = e.Content.Collect(keep)
	return err
}

// parts lists the blobs of a package that stay on the device; none if there is
// no such package, or it cannot be read.
func (e *Engine) parts(digest string, installed bool) (keep []string) {
	p, err := e.load(digest)
	if err != nil {
		return nil
	}
	keep = append(keep, p.Digest, p.Config.Digest)
	if installed || e.KeepPackages {
		for _, t := range p.Transforms {
			for _, b := range t.Blobs() {
				keep = append(keep, b.Digest)
			}
		}
	}
	if artifact, err := p.Artifact(e.Platform); err == nil && (e.KeepPackages || e.KeepBase && installed) {
		keep = append(keep, artifact.Digest)
	}
	return keep
}

// fetched lists what an update has in the content store.
func (e *Engine) fetched(digest string) (keep []string) {
	blobs := e.Blobs(digest)
	if len(blobs) > 0 {
		keep = []string{digest}
	}
	for _, b := range blobs {
		keep = append(keep, b.Digest)
	}
	return keep
}

// Blobs lists what this device needs of a package: its config, its artifact, then the
// transforms. There are none if the package's description is not here.
func (e *Engine) Blobs(digest string) []pack.Descriptor {
	p, err := e.load(digest)
	if err != nil {
		return nil
	}
	blobs, _, err := e.needed(p)
	if err != nil {
		return nil
	}
	return blobs
}
