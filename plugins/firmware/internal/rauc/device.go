package rauc

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A device is what a call finds: the slots as they are, and what is noted of them.
type device struct {
	*Updater
	rauc   *bus
	slots  []slot
	booted slot
	note   note
}

// refresh looks at the slots. What runs when all begins is what was there before
// the first version.
func (d *device) refresh(ctx context.Context) (err error) {
	if d.slots, err = d.rauc.slots(ctx); err != nil {
		return err
	}
	for _, s := range d.slots {
		if s.Booted {
			d.booted = s
		}
	}
	if d.booted.Name == "" {
		return errors.New("RAUC cannot tell which slot is booted: see to its system.conf and the kernel's command line")
	}
	if d.note.Current == "" {
		d.note.Current = d.booted.Name
		d.note.Slots[d.booted.Name] = content{Stamp: d.booted.Stamp}
	}
	return nil
}

func (d *device) save() error { return d.note.write(d.data) }

// holds returns what is in a slot, if that is known.
func (d *device) holds(s slot) (c content, known bool) {
	c, known = d.note.Slots[s.Name]
	return c, known && c.Stamp == s.Stamp
}

// find returns the slot that holds a content.
func (d *device) find(id string) (slot, bool) {
	for _, s := range d.slots {
		if c, known := d.holds(s); known && c.ID == id {
			return s, true
		}
	}
	return slot{}, false
}

// runs returns an error that asks for a boot, unless the device runs what it is to run.
func (d *device) runs() error {
	if d.booted.Name != d.note.Current {
		return fmt.Errorf("the device runs %s, not %s: %w", d.booted.Name, d.note.Current, updater.ErrReboot)
	}
	return nil
}

// well returns why what runs is not.
func (d *device) well(ctx context.Context) error {
	s, err := readSettings(d.note.Slots[d.booted.Name].Settings)
	if err != nil || s.Health.Command == nil {
		return err
	}
	if err := service.Run(ctx, "/", []string{"PATH=" + os.Getenv("PATH")}, s.Health.Command); err != nil {
		return fmt.Errorf("health command %s: %w", s.Health.Command[0], err)
	}
	return nil
}

// stage writes a bundle into a slot, unless one has it.
func (d *device) stage(ctx context.Context, c content, bundle string) (h updater.Handle, err error) {
	if err := d.settle(ctx); err != nil {
		return h, err
	}
	s, has := d.find(c.ID)
	if !has {
		if s, err = d.write(ctx, bundle); err != nil {
			return h, err
		}
		c.Stamp = s.Stamp
	} else {
		c = d.note.Slots[s.Name]
	}
	d.note.Slots[s.Name], d.note.Writing = c, false
	if err := d.stay(ctx); err != nil {
		return h, err
	}
	return reference{s.Name, c.ID}.handle(), nil
}

// settle is for a device that runs another slot than it was switched to. If RAUC
// has chosen that itself, at the end of an installation that nobody has waited for,
// the device has to leave it: the next bundle would overwrite what it is to run.
// Otherwise the boot loader went back.
func (d *device) settle(ctx context.Context) error {
	if err := d.idle(ctx); err != nil || d.booted.Name == d.note.Current {
		return err
	}
	if d.note.Writing {
		if err := d.rauc.prefer(ctx, d.note.Current); err != nil {
			return err
		}
		return fmt.Errorf("the device has booted %s, which was only being written: %w", d.booted.Name, updater.ErrReboot)
	}
	d.log.Warn("the boot loader went back by itself", "component", d.note.Component, "from", d.note.Current, "to", d.booted.Name)
	d.note.Current = d.booted.Name
	return nil
}

// idle waits until RAUC is, and looks again.
func (d *device) idle(ctx context.Context) error {
	if err := d.rauc.idle(ctx); err != nil {
		return err
	}
	return d.refresh(ctx)
}

// write returns the slot that RAUC has written.
func (d *device) write(ctx context.Context, bundle string) (slot, error) {
	d.note.Writing, d.note.Trial = true, nil
	if err := d.save(); err != nil {
		return slot{}, err
	}
	before := map[string]string{}
	for _, s := range d.slots {
		before[s.Name] = s.Stamp
	}
	if err := d.rauc.install(ctx, bundle, func(percent int32, what string) {
		d.log.Debug("RAUC installs", "percent", percent, "what", what)
	}); err != nil {
		return slot{}, err
	}
	if err := d.refresh(ctx); err != nil {
		return slot{}, err
	}
	for _, s := range d.slots {
		if !s.Booted && s.Stamp != before[s.Name] {
			return s, nil
		}
	}
	return slot{}, errors.New("RAUC has written no slot that can be booted: the bundle needs an image for one")
}

// stay has the next boot be one of what the device is to run. RAUC's own choice is
// the slot that it has written last, unless its configuration says
// activate-installed=false.
func (d *device) stay(ctx context.Context) error {
	d.note.Trial = nil
	if err := d.rauc.prefer(ctx, d.note.Current); err != nil {
		return err
	}
	return d.save()
}

// switchTo succeeds when the device has booted the slot of a handle.
func (d *device) switchTo(ctx context.Context, h updater.Handle) error {
	to, id, err := d.target(h)
	switch t := d.note.Trial; {
	case err != nil:
		return err
	case to.Booted:
		return d.arrive(ctx)
	case t != nil && t.Slot == to.Name && t.Boot != d.boot():
		return d.abandon(ctx, to.Name)
	}
	return d.leave(ctx, to.Name, id)
}

// target finds the slot of a handle. The zero handle is what was there before the
// first version.
func (d *device) target(h updater.Handle) (to slot, id string, err error) {
	if h.IsZero() {
		to, has := d.find("")
		if !has {
			return to, "", errors.New("what the device ran before its first version was overwritten, and firmware cannot be removed")
		}
		return to, "", nil
	}
	r, err := parseHandle(h)
	if err != nil {
		return to, "", err
	}
	for _, s := range d.slots {
		if c, known := d.holds(s); s.Name == r.Slot && known && c.ID == r.ID {
			return s, r.ID, nil
		}
		if s.Name == r.Slot && s.Stamp == unwritten {
			return to, "", fmt.Errorf("RAUC has forgotten what it has written to %s: set statusfile in its system.conf", s.Name)
		}
	}
	return to, "", fmt.Errorf("%s does not hold %s any more: stage the version again", r.Slot, r.ID)
}

// leave has the device boot another slot. The boot loader is told first: what is
// noted of a trial must be true of it.
func (d *device) leave(ctx context.Context, to, id string) error {
	if err := d.rauc.prefer(ctx, to); err != nil {
		return err
	}
	d.note.Trial = &trial{to, d.boot()}
	if err := d.save(); err != nil {
		return err
	}
	if d.config.Reboot != nil && (id == "" || d.note.Abandoned != id) { // lest it boots for ever
		if err := service.Run(ctx, "/", []string{"PATH=" + os.Getenv("PATH")}, d.config.Reboot); err != nil {
			d.log.Error("the device does not reboot", "command", d.config.Reboot[0], "error", err)
		}
	}
	return fmt.Errorf("the next boot is one of %s: %w", to, updater.ErrReboot)
}

// arrive makes the slot that is booted the one that the device is to run. One
// that was left before it has proven itself must not be what a boot loader goes
// back to; as long as the device ran it, it was better than none.
func (d *device) arrive(ctx context.Context) error {
	left := d.note.Current
	if t := d.note.Trial; t != nil && t.Slot != d.booted.Name { // before it was booted
		left = t.Slot
	}
	if err := d.rauc.prefer(ctx, d.booted.Name); err != nil {
		return err
	}
	if c, known := d.note.Slots[left]; left != d.booted.Name && known && c.ID != "" && !c.Proven {
		if err := d.rauc.mark(ctx, "bad", left); err != nil {
			return err
		}
	}
	d.note.Current, d.note.Trial, d.note.Writing = d.booted.Name, nil, false
	return d.save()
}

// abandon gives up a slot that the device was to boot and did not. What is in it
// has to be written again before it gets another trial.
func (d *device) abandon(ctx context.Context, slot string) error {
	c := d.note.Slots[slot]
	if err := errors.Join(d.rauc.prefer(ctx, d.booted.Name), d.rauc.mark(ctx, "bad", slot)); err != nil {
		return err
	}
	delete(d.note.Slots, slot)
	d.note.Current, d.note.Trial, d.note.Abandoned = d.booted.Name, nil, c.ID
	if err := d.save(); err != nil {
		return err
	}
	return fmt.Errorf("the device was to boot %s from %s and has booted %s: the boot loader went back", c.Version, slot, d.booted.Name)
}
