package mica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tranquil-iot/tranquil/plugins/container/internal/image"
	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/mica"
	"github.com/tranquil-iot/tranquil/sdk/replica"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// fetch has a directory of a container exported, and fills dir with it. What is in
// dir is on the disk when it returns.
func (u *Updater) fetch(ctx context.Context, container, directory, dir string) error {
	var export struct {
		Download string
		Size     int64
	}
	if err := u.base.Do(ctx, mica.Export, &export, "{name}", container, "{directory}", directory); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := image.Apply(ctx, &download{ctx: ctx, u: u, id: export.Download, left: export.Size}, dir); err != nil {
		return err
	}
	return disk.Sync(dir)
}

// A download reads what was exported, piece by piece.
type download struct {
	ctx    context.Context
	u      *Updater
	id     string
	offset int64
	left   int64
	have   []byte
}

func (d *download) Read(p []byte) (int, error) {
	if len(d.have) == 0 {
		if d.left <= 0 {
			return 0, io.EOF
		}
		var answer struct{ Data []byte }
		if err := d.u.base.Do(d.ctx, mica.Download, &answer, "{download}", d.id, "{offset}", fmt.Sprint(d.offset)); err != nil {
			return 0, err
		}
		if len(answer.Data) == 0 {
			return 0, io.ErrUnexpectedEOF
		}
		d.have = answer.Data
		d.offset, d.left = d.offset+int64(len(d.have)), d.left-int64(len(d.have))
	}
	n := copy(p, d.have)
	d.have = d.have[n:]
	return n, nil
}

// takeState brings the state of the component, which does not run any more, into
// its home, unless it is there already.
func (u *Updater) takeState(ctx context.Context, h home, there map[string]bool) error {
	ran, err := os.ReadFile(h.ran())
	if err != nil || disk.Exists(h.state()) { // it has not run, or had no state
		return nil
	}
	id := string(ran)
	v, err := h.version(id)
	if _, staged := there[id]; err != nil || !staged || v.Settings.State == "" {
		return nil
	}
	half := h.path(".state.new")
	if err := replica.RemoveAll(half); err != nil {
		return err
	}
	if err := u.fetch(ctx, h.container(id), v.Settings.State, half); err != nil {
		return err
	}
	return errors.Join(disk.Rename(half, h.state()), disk.Remove(h.ran()))
}

// giveState makes the state in the component's home that of a container. From
// then on the container has it.
func (u *Updater) giveState(ctx context.Context, h home, v version) error {
	if v.Settings.State == "" {
		return nil
	}
	if disk.Exists(h.state()) {
		archive, err := os.CreateTemp(h.dir, ".state-*.tar")
		if err != nil {
			return err
		}
		defer os.Remove(archive.Name())
		if err := errors.Join(image.Archive(ctx, h.state(), archive), archive.Close()); err != nil {
			return err
		}
		place := h.container(v.ID) + ".state"
		if err := u.base.Upload(ctx, place, archive.Name()); err != nil {
			return err
		}
		if err := u.base.Do(ctx, mica.Import, nil, "{name}", h.container(v.ID), "{directory}", v.Settings.State, "{upload}", place); err != nil {
			return err
		}
	}
	if err := disk.WriteFile(h.ran(), []byte(v.ID), 0o600); err != nil {
		return err
	}
	return disk.Remove(h.state())
}

// Save fills Dir with the state of the stopped component.
func (u *Updater) Save(ctx context.Context, r updater.SaveRequest) error {
	h, err := u.home(r.Component)
	if err == nil {
		err = u.save(ctx, h, r.Dir)
	}
	if err != nil {
		return fmt.Errorf("cannot save the state of %s: %w", r.Component, mica.Retry(err))
	}
	return nil
}

func (u *Updater) save(ctx context.Context, h home, dir string) error {
	there, err := u.idle(ctx, h)
	if err != nil {
		return err
	}
	if err := errors.Join(u.takeState(ctx, h, there), empty(dir)); err != nil || !disk.Exists(h.state()) {
		return err
	}
	return disk.Copy(ctx, h.state(), dir)
}

// idle fails if something of the component runs.
func (u *Updater) idle(ctx context.Context, h home) (there map[string]bool, err error) {
	there, err = u.containers(ctx, h)
	if err == nil && runs(there) {
		err = errors.New("it runs: stop it first")
	}
	return there, err
}

func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, replica.RemoveAll(dir+"/"+e.Name()))
	}
	return err
}

// Apply makes Dir the state of the next start.
func (u *Updater) Apply(ctx context.Context, r updater.ApplyRequest) error {
	h, err := u.home(r.Component)
	if err == nil {
		err = u.apply(ctx, h, r.Dir)
	}
	if err != nil {
		return fmt.Errorf("cannot apply the state of %s: %w", r.Component, mica.Retry(err))
	}
	return nil
}

func (u *Updater) apply(ctx context.Context, h home, dir string) error {
	if _, err := u.idle(ctx, h); err != nil {
		return err
	}
	half := h.path(".state.new")
	if err := errors.Join(replica.RemoveAll(half), os.MkdirAll(h.dir, 0o700)); err != nil {
		return err
	}
	if err := disk.Copy(ctx, dir, half); err != nil {
		return err
	}
	if err := errors.Join(disk.Sync(half), disk.Remove(h.state())); err != nil {
		return err
	}
	return errors.Join(disk.Rename(half, h.state()), disk.Remove(h.ran()))
}

// Snapshot fills Dir with the state of the component, which may run.
func (u *Updater) Snapshot(ctx context.Context, r updater.SnapshotRequest) error {
	h, err := u.home(r.Component)
	if err == nil {
		err = u.snapshot(ctx, h, r.Dir)
	}
	if err != nil {
		return fmt.Errorf("cannot copy the state of %s: %w", r.Component, mica.Retry(err))
	}
	return nil
}

func (u *Updater) snapshot(ctx context.Context, h home, dir string) error {
	if err := empty(dir); err != nil {
		return err
	}
	if disk.Exists(h.state()) {
		return disk.Copy(ctx, h.state(), dir)
	}
	ran, err := os.ReadFile(h.ran())
	if err != nil {
		return nil // it has not run yet
	}
	v, err := h.version(string(ran))
	if err != nil || v.Settings.State == "" {
		return err
	}
	return u.fetch(ctx, h.container(v.ID), v.Settings.State, dir)
}
