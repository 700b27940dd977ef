package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// resolveRemoval refuses what cannot be removed, with nothing touched.
func (r *run) resolveRemoval(context.Context) error {
	switch {
	case r.j.Goal.Version != "" || r.j.Goal.Package != "":
		return failure{cause: "remove contradicts a version: ask for one of them"}
	case r.j.Object.Object() != objects.SoftwareManagementID:
		return failure{cause: "firmware cannot be taken off a device: ask for another version"}
	}
	return nil
}

// uninstall has the device remove what is installed, and waits until it is gone.
// What becomes of its state is the device's own affair.
func (r *run) uninstall(ctx context.Context) error {
	v, err := r.look(ctx)
	switch f, failed := r.t.object.failing(v); {
	case err != nil:
		return err
	case v.stage == vacant && r.j.Told:
		return nil
	case v.stage == vacant:
		return failure{cause: "nothing is installed that could be removed"}
	case v.stage == fetching:
		return waiting{what: "the device to end a download that somebody else has begun"}
	case !r.j.Told:
		return r.tellUninstall(ctx, v)
	case failed && (v.result != r.j.Before || r.settled()):
		return errors.New(f.words)
	case !r.settled():
		return soon("the device to remove it")
	}
	return errors.New("the device was told to remove it, and still has it")
}

// tellUninstall executes Uninstall. A device that refuses it of what runs is told to
// stop that first.
func (r *run) tellUninstall(ctx context.Context, v view) error {
	r.j.Told, r.j.Since, r.j.Before = true, time.Now(), v.result
	if r.j.Began.IsZero() {
		r.j.Began = r.j.Since
	}
	if err := r.note(ctx); err != nil {
		return err
	}
	r.log.Info("device is told to remove a component", "component", r.j.Component, "update", r.j.ID)
	err := r.d.Execute(ctx, r.t.path.Child(objects.SoftwareUninstall), "")
	if _, refused := errors.AsType[*lwm2m.Error](err); refused && v.active {
		r.j.Told = false
		if stopped := r.d.Execute(ctx, r.t.path.Child(objects.SoftwareDeactivate), ""); stopped == nil {
			return soon("the device to stop it")
		}
	}
	if _, refused := errors.AsType[*lwm2m.Error](err); refused {
		return fmt.Errorf("the device refuses to remove it: %w", err)
	}
	return soon("the device to remove it") // it may do it also if it did not answer
}
