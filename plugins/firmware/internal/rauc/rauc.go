// Package rauc is the firmware updater of devices with RAUC: a version is what a
// bundle puts into a slot, and it runs when the device has booted that slot.
//
// RAUC checks who has signed a bundle and which devices it is for, and writes it.
// Which slot is booted is decided here: Switch names it to the boot loader, and has
// succeeded when the device has booted it. A boot loader that goes back by itself
// is noticed by the Switch that follows the boot; Confirm tells it that it need
// not any more. A slot is never emptied: what Unstage removes is the way that an
// update has begun, and the version before stays as the one to go back to.
package rauc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/sdk/boot"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Type is the type of the components that this updater handles.
const Type = "firmware"

// An Updater handles the firmware of the device that it runs on.
type Updater struct {
	data   string
	bus    string // address; "" is the system bus
	config Config
	boot   func() string // identity of this boot
	log    *slog.Logger
}

var (
	_ updater.UpdaterWithProbe   = (*Updater)(nil)
	_ updater.UpdaterWithStatus  = (*Updater)(nil)
	_ updater.UpdaterWithConfirm = (*Updater)(nil)
)

// Open makes an updater that works in env.
func Open(env updater.Environment) (updater.Updater, error) {
	config, err := readConfig(File)
	if err != nil {
		return nil, err
	}
	return &Updater{data: env.Data, config: config, boot: boot.ID, log: env.Logger}, nil
}

// Stage has RAUC write the bundle into a slot that is not booted.
func (u *Updater) Stage(ctx context.Context, r updater.StageRequest) (a updater.StageResponse, err error) {
	err = u.with(ctx, r.Component, "stage", func(d *device) error {
		if r.MediaType != pack.MediaTypeRaw {
			return fmt.Errorf("the artifact is %q, must be a RAUC bundle as it is: raw = true in the recipe", r.MediaType)
		}
		if _, err := parseSettings(r.Settings); err != nil {
			return err
		}
		sum, err := digest(ctx, r.Artifact)
		if err != nil {
			return err
		}
		c := content{ID: r.Version + "-" + sum, Version: r.Version, Settings: r.Settings}
		a.Handle, err = d.stage(ctx, c, r.Artifact)
		return err
	})
	return a, err
}

// digestLength is how many digits of the digest tell two bundles apart.
const digestLength = 12

func digest(ctx context.Context, name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, service.Bounded(ctx, file)); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil))[:digestLength], nil
}

// Unstage waits for what RAUC has begun, and sees to it that the device does not
// boot that.
func (u *Updater) Unstage(ctx context.Context, r updater.UnstageRequest) error {
	return u.with(ctx, r.Component, "unstage", func(d *device) error {
		if is, err := parseHandle(r.Handle); err == nil && is.Slot == d.note.Current && is.ID == d.note.Slots[is.Slot].ID {
			return errors.New("it is the version switched to: switch to another first")
		}
		if err := d.settle(ctx); err != nil {
			return err
		}
		return d.stay(ctx)
	})
}

// Switch succeeds when the device has booted the slot.
func (u *Updater) Switch(ctx context.Context, r updater.SwitchRequest) error {
	return u.with(ctx, r.Component, "switch", func(d *device) error { return d.switchTo(ctx, r.Handle) })
}

// Start finds the device running, or asks for a boot.
func (u *Updater) Start(ctx context.Context, r updater.StartRequest) error {
	return u.with(ctx, r.Component, "start", func(d *device) error {
		if d.note.Slots[d.note.Current].ID == "" {
			return errors.New("no version was switched to: stage one first")
		}
		return d.runs()
	})
}

// Stop has nothing to do: firmware ends with the next boot.
func (u *Updater) Stop(context.Context, updater.StopRequest) (updater.StopResponse, error) {
	return updater.StopResponse{}, nil
}

// Probe asks the running firmware.
func (u *Updater) Probe(ctx context.Context, r updater.ProbeRequest) (a updater.ProbeResponse, err error) {
	err = u.with(ctx, r.Component, "probe", func(d *device) error {
		reason := d.runs()
		if reason == nil {
			reason = d.well(ctx)
		}
		if a.Healthy = reason == nil; !a.Healthy {
			a.Reason = reason.Error()
		}
		return ctx.Err()
	})
	return a, err
}

// Status tells what the device has booted.
func (u *Updater) Status(ctx context.Context, r updater.StatusRequest) (a updater.StatusResponse, err error) {
	err = u.with(ctx, r.Component, "look at", func(d *device) error {
		if c, known := d.holds(d.booted); known && c.ID != "" {
			a = updater.StatusResponse{Version: c.Version, Running: true, Handle: reference{d.booted.Name, c.ID}.handle()}
		}
		return nil
	})
	return a, err
}

// Confirm tells the boot loader that the slot that runs is good.
func (u *Updater) Confirm(ctx context.Context, r updater.ConfirmRequest) error {
	return u.with(ctx, r.Component, "confirm", func(d *device) error {
		if err := d.runs(); err != nil {
			return err
		}
		if err := d.rauc.mark(ctx, "good", d.booted.Name); err != nil {
			return err
		}
		c := d.note.Slots[d.booted.Name]
		c.Proven = true
		d.note.Slots[d.booted.Name], d.note.Abandoned = c, ""
		return d.save()
	})
}

// with looks at the device and does something with it.
func (u *Updater) with(ctx context.Context, component, what string, do func(*device) error) error {
	d, err := u.look(ctx, component)
	if err == nil {
		defer d.rauc.close()
		err = do(d)
	}
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", what, component, err)
	}
	return nil
}

func (u *Updater) look(ctx context.Context, component string) (*device, error) {
	if !strings.HasPrefix(component, Type+"/") {
		return nil, fmt.Errorf("it is no component of type %q", Type)
	}
	n, err := readNote(u.data)
	if err != nil {
		return nil, err
	}
	if n.Component != "" && n.Component != component {
		return nil, fmt.Errorf("the device's slots are those of %s", n.Component)
	}
	n.Component = component
	rauc, err := connect(ctx, u.bus)
	if err != nil {
		return nil, err
	}
	d := &device{Updater: u, rauc: rauc, note: n}
	if err := d.refresh(ctx); err != nil {
		rauc.close()
		return nil, err
	}
	return d, nil
}
