package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/replica"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// handOverTimeout bounds how long a started component may take to open its
// control socket and take its state.
const handOverTimeout = 30 * time.Second

// saved is the state that a component with handover gave when it was asked to
// stop. It becomes the incoming state when the component has really ended.
func (h Home) saved() string { return h.Path("saved") }

// applied names the directory that Apply took over last: Apply moves it away,
// and must know it again when the call is repeated.
func (h Home) applied() string { return h.Path("applied") }

// Save fills Dir with hard links, which the agent brings to the disk, and with
// them the note of their origin: nothing writes to these files any more, since
// Start gives a component that starts on them copies of its own.
func (u *Updater) Save(ctx context.Context, r updater.SaveRequest) error {
	h, done, err := u.work(ctx, r.Component)
	if err != nil {
		return err
	}
	defer done()
	if err := h.save(ctx, r.Dir, r.Snapshot); err != nil {
		return fmt.Errorf("cannot save the state of %s: %w", r.Component, err)
	}
	return nil
}

func (h Home) save(ctx context.Context, dir, snapshot string) error {
	if err := errors.Join(h.inUse(ctx), h.endCommands(ctx)); err != nil {
		return err
	}
	if err := errors.Join(h.promote(), removeAll(h.applied(), h.origin()), h.discardOld(), empty(dir)); err != nil {
		return err
	}
	if commanded, err := h.saveStopped(ctx, dir); err != nil || commanded {
		return err
	}
	source, err := h.source()
	if err != nil || source == "" {
		return err
	}
	if err := h.linkSaved(ctx, source, dir, snapshot); err != nil || source != h.State() {
		return err
	}
	return h.noteOrigin(dir)
}

// linkSaved links the state into the empty directory dir. The links of a
// snapshot of the live state serve as well: only what has changed is linked.
func (h Home) linkSaved(ctx context.Context, source, dir, snapshot string) error {
	if snapshot == "" || source != h.State() || !disk.Exists(snapshot) {
		return disk.Link(ctx, source, dir)
	}
	if os.Remove(dir) != nil || os.Rename(snapshot, dir) != nil { // another file system, most likely
		return errors.Join(os.MkdirAll(dir, 0o700), disk.Link(ctx, source, dir))
	}
	return disk.Match(ctx, source, dir)
}

// source is where the state of the stopped component is, "" if there is none.
func (h Home) source() (string, error) {
	if disk.Exists(h.incoming()) {
		return h.incoming(), nil
	}
	v, installed, err := h.current()
	if err != nil {
		return "", err
	}
	if installed && v.Traits.handed() {
		return "", errors.New("the component did not hand it over when it ended: start it and try again")
	}
	if disk.Exists(h.State()) {
		return h.State(), nil
	}
	return "", nil
}

// empty makes dir an empty directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o700)
	}
	for _, entry := range entries {
		err = errors.Join(err, replica.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}

// Apply makes Dir the incoming state, which the next Start hands to the
// component in the way that the version then switched to asks for.
func (u *Updater) Apply(ctx context.Context, r updater.ApplyRequest) error {
	h, done, err := u.work(ctx, r.Component)
	if err != nil {
		return err
	}
	defer done()
	if err := h.apply(ctx, r.Dir); err != nil {
		return fmt.Errorf("cannot apply the state of %s: %w", r.Component, err)
	}
	return nil
}

// apply may be repeated: as long as Dir is there, nothing that happened counts.
// Dir disappears only by becoming the incoming state, or if that has become the
// one that was saved into Dir.
func (h Home) apply(ctx context.Context, dir string) error {
	if err := errors.Join(h.inUse(ctx), h.endCommands(ctx)); err != nil {
		return err
	}
	if !disk.Exists(dir) {
		if last, err := os.ReadFile(h.applied()); err != nil || string(last) != dir {
			return fmt.Errorf("there is no directory %s", dir)
		}
		return nil
	}
	if state, is := h.isOrigin(dir); is {
		return h.takeOrigin(state, dir)
	}
	if err := removeAll(h.saved(), h.incoming()); err != nil {
		return err
	}
	if err := disk.Replace(h.applied(), []byte(dir), 0o600); err != nil {
		return err
	}
	if disk.Rename(dir, h.incoming()) == nil { // and the note before it
		return nil
	}
	return h.applyCopy(ctx, dir) // another file system, most likely
}

func (h Home) applyCopy(ctx context.Context, dir string) error {
	half := h.Path(".incoming.new")
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if err := disk.Copy(ctx, dir, half); err != nil {
		return err
	}
	if err := disk.Sync(half); err != nil {
		return err
	}
	return disk.Rename(half, h.incoming())
}

// Snapshot fills Dir with hard links to the live state, by which the agent
// knows the files again that do not change until Save; or it has the component
// save it.
func (u *Updater) Snapshot(ctx context.Context, r updater.SnapshotRequest) error {
	h, done, err := u.work(ctx, r.Component)
	if err != nil {
		return err
	}
	defer done()
	if err := h.snapshot(ctx, r.Dir); err != nil {
		return fmt.Errorf("cannot copy the state of %s: %w", r.Component, err)
	}
	return nil
}

func (h Home) snapshot(ctx context.Context, dir string) error {
	if err := empty(dir); err != nil {
		return err
	}
	v, _, err := h.current()
	if err != nil {
		return err
	}
	now, runs, err := h.supervised(ctx)
	if err != nil {
		return err
	}
	if c := v.Traits.Commands; c != nil && !disk.Exists(h.incoming()) && (runs || !c.Running) {
		return h.saveByCommand(ctx, v, dir)
	}
	if runs && v.Traits.Handover {
		if err := ready(ctx, now.Spec.Control, h.alive); err != nil {
			return err
		}
		return ask(ctx, now.Spec.Control, component.PathSave, dir)
	}
	source, err := h.source()
	if err != nil || source == "" {
		return err
	}
	return disk.LinkLive(ctx, source, dir)
}

// collect asks a running component for its state. What it gave before counts
// until it has given it again. If it has not taken over the incoming state,
// that one is still the truth.
func (h Home) collect(ctx context.Context, v Version, socket string, limit time.Duration) error {
	if disk.Exists(h.incoming()) {
		return nil
	}
	half := h.Path(".saved.new")
	if err := empty(half); err != nil {
		return err
	}
	if err := h.give(ctx, v, socket, limit, half); err != nil {
		return err
	}
	if err := disk.Sync(half); err != nil {
		return err
	}
	if err := removeAll(h.saved()); err != nil {
		return err
	}
	return disk.Rename(half, h.saved())
}

// give has the running component's state put into dir: by a program, or by the
// component.
func (h Home) give(ctx context.Context, v Version, socket string, limit time.Duration, dir string) error {
	if v.Traits.Commands != nil {
		ctx, cancel := some(ctx)
		defer cancel()
		return h.saveByCommand(ctx, v, dir)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := ready(ctx, socket, h.alive); err != nil {
		return err
	}
	if err := quiesce(ctx, socket); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return ask(ctx, socket, component.PathSave, dir)
}

// promote makes what an ended component gave the state of its next start.
func (h Home) promote() error {
	if !disk.Exists(h.saved()) {
		return nil
	}
	if disk.Exists(h.incoming()) {
		return removeAll(h.saved())
	}
	return disk.Rename(h.saved(), h.incoming())
}

// handOver gives the incoming state to the running component, if that is how
// it wants it. It waits for the control socket even if there is no state to
// give: until then the component could not be stopped without losing some.
func (h Home) handOver(ctx context.Context, v Version, socket string) error {
	if c := v.Traits.Commands; c != nil && c.Running && disk.Exists(h.incoming()) {
		return h.applyByCommand(ctx, v)
	}
	if !v.Traits.Handover {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	if err := ready(ctx, socket, h.alive); err != nil {
		return h.withLog(err)
	}
	if !disk.Exists(h.incoming()) {
		return nil
	}
	if err := ask(ctx, socket, component.PathApply, h.incoming()); err != nil {
		return h.withLog(fmt.Errorf("the component does not take its state: %w", err))
	}
	return removeAll(h.incoming(), h.incoming()+component.AppliedSuffix)
}

// alive fails once the component has ended unasked.
func (h Home) alive(ctx context.Context) error {
	now, runs, err := h.supervised(ctx)
	if err != nil {
		return err
	}
	if !runs || now.State != supervisor.Running && now.State != supervisor.Starting || now.Restarts > 0 {
		return fmt.Errorf("the component ended: %s", now.Last)
	}
	return nil
}
