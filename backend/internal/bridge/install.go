package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// install has the device install what it has got, and waits for the outcome. The
// device may answer late or never, since it starts anew, and remember nothing.
func (r *run) install(ctx context.Context) error {
	v, err := r.look(ctx)
	if err != nil {
		return err
	}
	if !r.j.Told {
		if v.stage != ready {
			return failure{cause: "the device no longer has the package: have the version tried anew"}
		}
		return r.tellInstall(ctx, v)
	}
	o := r.t.object
	f, failed := o.failing(v)
	switch {
	case v.stage == installed, v.stage == vacant && o.success >= 0 && v.result == o.success:
		return nil
	case v.stage == installing && time.Now().After(r.j.Deadline):
		return failure{resultInconsistent, "the device still says that it installs the package, long after it was told to: look at it; if it ends, its version shows what has become of it"}
	case v.stage == installing:
		return soon("the device to install the package")
	case failed && (v.result != r.j.Before || r.settled()):
		return failure{cause: f.words}
	case v.stage == ready && o.deferred >= 0 && v.result == o.deferred:
		return waiting{what: "somebody at the device, who has put the update off"}
	case v.stage == vacant && sameVersion(v.version, r.j.To):
		return nil // it has forgotten how that went
	case !r.settled():
		return soon("the device to begin to install")
	case v.stage == ready:
		return errors.New("the device was told to install the package, and has not begun")
	}
	return failure{cause: fmt.Sprintf("the device has given up the package, and does not say why; it has version %q", v.version)}
}

// tellInstall executes Update or Install. That is repeated only if the device shows
// that nothing has come of it.
func (r *run) tellInstall(ctx context.Context, v view) error {
	now := time.Now()
	r.j.Told, r.j.Since, r.j.Before = true, now, v.result
	if r.j.Began.IsZero() {
		r.j.Began = now
	}
	if r.j.Away > 0 {
		r.j.Until = now.Add(time.Duration(r.j.Away) * time.Second)
	}
	if err := r.note(ctx); err != nil {
		return err
	}
	r.log.Info("device is told to install", "component", r.j.Component, "update", r.j.ID)
	err := r.d.Execute(ctx, r.t.path.Child(r.t.object.install), "")
	if _, refused := errors.AsType[*lwm2m.Error](err); refused {
		return fmt.Errorf("the device refuses to install the package: %w", err)
	}
	return soon("the device to install the package") // it may have done it also if it did not answer
}

// activate has software run that ran before, or that is new.
func (r *run) activate(ctx context.Context) error {
	if r.t.object != software || r.j.From != "" && !r.j.Active {
		return nil
	}
	v, err := r.look(ctx)
	if err != nil || v.active {
		return err
	}
	if err := r.d.Execute(ctx, r.t.path.Child(objects.SoftwareActivate), ""); err != nil {
		return fmt.Errorf("the device does not activate the new version: %w", err)
	}
	if v, err = r.look(ctx); err != nil || v.active {
		return err
	}
	return soon("the device to activate the new version")
}

// probe holds what the device says of its version against what it should be. Not
// every device has versions as packages have them.
func (r *run) probe(ctx context.Context) error {
	v, err := r.look(ctx)
	switch {
	case err != nil:
		return err
	case sameVersion(v.version, r.j.To):
	case v.version == "":
		r.j.Warning = "the device does not say which version it has"
	case v.version != r.j.From:
		r.j.Warning = fmt.Sprintf("the device calls the version %q", v.version)
	case time.Now().After(r.j.Deadline):
		return failure{resultTurnedBack, fmt.Sprintf("the device says that it has installed the package, but still has version %q", v.version)}
	default:
		return soon("the device to have the new version")
	}
	return nil
}

// withdraw has the device give up a package that is not to be installed any more,
// as far as it can.
func (r *run) withdraw(ctx context.Context) error {
	v, err := r.look(ctx)
	if err != nil || v.stage != fetching && v.stage != ready {
		return err
	}
	if r.t.object == software && v.stage == fetching {
		return nil // it cannot; the next update clears it
	}
	return r.giveUp(ctx, v)
}
