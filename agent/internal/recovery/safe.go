package recovery

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Notes are what a repair reads and writes; all of it is durable.
type Notes interface {
	Fault() (string, error)
	SetFault(string) error
	// SetAside forgets the journal of components, and the fault; it keeps all
	// for inspection, and says where.
	SetAside(components []string) (kept string, err error)
}

// Check finds out whether the agent must be in safe mode: there is a journal
// that it cannot read. It then registers, keeps the components running and
// reports, but starts no update until [Recovery.Repair]. What a newer agent
// has written is looked at anew each time, since that agent may come back.
func (r *Recovery) Check(components []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faulty = nil
	var faults []string
	for _, c := range components {
		if err := r.readable(c); err != nil {
			r.faulty = append(r.faulty, c)
			faults = append(faults, c+": "+err.Error())
		}
	}
	noted, err := r.Notes.Fault()
	switch {
	case r.Damage.Volatile:
		faults = []string{"the agent can keep nothing" + r.because() + ": see to the disk and start the agent again"}
	case r.Damage.Lost && !r.repaired:
		noted = "the journal could not be read, it is not known whether an update was cut off" + r.because()
		err = r.Notes.SetFault(noted)
	}
	if noted != "" {
		r.Damage.Lost = true // by this process or an earlier one
		faults = append(faults, noted)
	}
	if err != nil {
		faults = append(faults, err.Error())
	}
	fault := strings.Join(faults, "; ")
	r.fault.Store(&fault)
	if fault != "" {
		r.Log.Error("safe mode: no update starts", "fault", fault)
	}
}

func (r *Recovery) readable(component string) error {
	record, open, err := r.Memory.Load(component)
	if err == nil && open {
		err = r.Engine.Readable(record)
	}
	_, err2 := r.Memory.Installed(component)
	_, err3 := r.Memory.Wishes(component)
	return errors.Join(err, err2, err3)
}

// Fault says why the agent is in safe mode, "" if it is not.
func (r *Recovery) Fault() string {
	if fault := r.fault.Load(); fault != nil {
		return *fault
	}
	return ""
}

// Refusal is why an update does not start in safe mode.
func (r *Recovery) Refusal() error {
	return fmt.Errorf("the agent is in safe mode: %s; repair it (tranquil repair DEVICE, tranquil-agent repair), then ask again, with another attempt", r.Fault())
}

// Keep has a component run in safe mode, as whatever version the updater has.
// One that was stopped by an update which a newer agent may finish stays
// stopped: what it wrote now would be lost with that. So does one whose own
// update goes on after safe mode, and one that would start on a state of
// another version.
func (r *Recovery) Keep(ctx context.Context, component string) error {
	record, open, unread := r.Memory.Load(component)
	ours := unread == nil && open && r.Engine.Readable(record) == nil
	if unread == nil && open && !ours && record.Update.Down != (engine.Moment{}) {
		r.Log.Error("component stays as its update has left it", "component", component)
		return nil
	}
	u, status, err := r.ask(ctx, component)
	if err != nil || status.Version == "" {
		return err
	}
	if i, err := r.Memory.Installed(component); status.NoState && (err != nil || i.Schema > 0) {
		return fmt.Errorf("%w: it stays stopped until safe mode ends, since it would begin with an empty one", ErrStateGone)
	}
	switch {
	case status.Running && (ours || r.Pairs.Agree(component, status.Version) != nil):
		return nil
	case ours:
		err = r.startable(record, status)
	case !open || unread != nil: // else its journal knows
		installed, _ := r.Memory.Installed(component)
		r.mu.Lock()
		_, _, err = r.reunite(ctx, u, component, installed, status)
		r.mu.Unlock()
	}
	if err != nil {
		return r.keepApart(component, err)
	}
	return within(ctx, u, func(ctx context.Context) error {
		return r.Begin(ctx, u, component)
	})
}

// startable returns why a component must not start before its update goes on.
// Nothing is changed: the update goes by how it has left it.
func (r *Recovery) startable(record engine.Record, status updater.StatusResponse) error {
	if !record.Startable() {
		return fmt.Errorf("its update was cut off at step %s, and goes on when safe mode ends", record.Step)
	}
	if err := r.Pairs.Agree(record.Update.Component, status.Version); err != nil {
		return fmt.Errorf("%w: %w; its update goes on when safe mode ends", ErrApart, err)
	}
	return nil
}

// ask returns what the updater says of a component.
func (r *Recovery) ask(ctx context.Context, component string) (u *updater.Client, status updater.StatusResponse, err error) {
	kind, _, _ := strings.Cut(component, "/")
	if u, err = r.Updater(ctx, kind); err != nil {
		return nil, status, err
	}
	if !u.Capabilities().Status {
		return u, status, errors.New("the updater cannot tell what is installed")
	}
	err = within(ctx, u, func(ctx context.Context) (err error) {
		status, err = u.Status(ctx, updater.StatusRequest{Component: component})
		return err
	})
	return u, status, err
}

// Repair ends safe mode: what cannot be read is set aside, and what is
// installed is taken anew from the updaters. Its error says what an operator
// has to do first.
func (r *Recovery) Repair(ctx context.Context, components []string) error {
	if r.Fault() == "" {
		return nil
	}
	faulty, kept, err := r.setAside()
	if err != nil {
		err = fmt.Errorf("cannot repair: %w", err)
		fault := r.Fault() + "; " + err.Error()
		r.fault.Store(&fault)
		return err
	}
	r.Log.Warn("the journal was set aside", "kept", kept, "components", faulty)
	for _, c := range faulty {
		err = errors.Join(err, r.retake(ctx, c, kept))
	}
	r.Check(components)
	return err
}

func (r *Recovery) setAside() (faulty []string, kept string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if kept, err = r.Notes.SetAside(r.faulty); err == nil {
		r.repaired, r.settled = true, nil
	}
	return r.faulty, kept, err
}

// retake takes the inventory of a component whose journal was set aside: what
// it says may be of before an update, or of after.
func (r *Recovery) retake(ctx context.Context, component, kept string) error {
	text := "the journal of an update could not be read and was set aside (" + kept + ")"
	_, status, err := r.ask(ctx, component)
	installed, err2 := r.Memory.Installed(component)
	if err2 != nil {
		return err2
	}
	if err == nil && status.Version != "" && status.Version != installed.Version {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.learn(ctx, component, installed, status)
	}
	return r.Inconsistent(engine.Update{Component: component}, fmt.Errorf(
		"%s; version %s is installed: look at the component, then ask for a version again, with another attempt", text, installed.Version))
}
