package systemd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
)

// Find returns how a component runs, if it does: the one whose units have this
// prefix. Of the spec it knows the version only. One of whose processes some are
// missing waits for them.
func (m Manager) Find(ctx context.Context, prefix string) (status supervisor.Status, runs bool, err error) {
	if m.Here() != nil {
		return status, false, nil
	}
	conn, err := m.connect(ctx)
	if err != nil {
		return status, false, err
	}
	defer conn.Close()
	units, err := active(ctx, conn, prefix)
	if err != nil {
		return status, false, err
	}
	running := map[string]bool{}
	for _, u := range units {
		own, err := describe(ctx, conn, u)
		if err != nil {
			return status, false, err
		}
		running[u.Name] = true
		status = join(status, own, strings.Contains(u.Description, Beside))
	}
	for _, file := range m.files(Prefix(prefix, status.Spec.Version)) {
		if name := filepath.Base(file); len(units) > 0 && !running[name] {
			status.State, status.Last = supervisor.Waiting, name+" does not run"
		}
	}
	return status, len(units) > 0, nil
}

// active lists the units that run, or are about to: also those that systemd will start
// when something else has ended.
func active(ctx context.Context, conn *dbus.Conn, prefix string) ([]dbus.UnitStatus, error) {
	units, err := conn.ListUnitsByPatternsContext(ctx, nil, []string{prefix + "*" + suffix})
	if err != nil {
		return nil, fmt.Errorf("systemd does not list its units: %w", err)
	}
	return slices.DeleteFunc(units, func(u dbus.UnitStatus) bool {
		queued := u.JobId != 0 && u.JobType != "stop"
		return !queued && (u.ActiveState == "inactive" || u.ActiveState == "failed")
	}), nil
}

// describe translates what systemd says of one unit.
func describe(ctx context.Context, conn *dbus.Conn, u dbus.UnitStatus) (s supervisor.Status, err error) {
	p, err := conn.GetAllPropertiesContext(ctx, u.Name)
	if err != nil {
		return s, fmt.Errorf("systemd does not tell of %s: %w", u.Name, err)
	}
	s.Spec.Version = u.Description[strings.LastIndexByte(u.Description, ' ')+1:]
	s.State = state(text(p, "ActiveState"), text(p, "SubState"))
	restarts, _ := p["NRestarts"].(uint32)
	process, _ := p["MainPID"].(uint32)
	changed, _ := p["StateChangeTimestampMonotonic"].(uint64)
	s.Restarts, s.Process, s.Last = int(restarts), int(process), last(p)
	if restarts > 0 && s.State == supervisor.Running { // systemd has forgotten how it ended before
		s.Last = "see systemctl status " + u.Name
	}
	since := monotonic() - time.Duration(changed)*time.Microsecond
	s.Since, s.At = time.Now().Add(-since), supervisor.SinceBoot()-since
	return s, nil
}

func state(active, sub string) string {
	switch {
	case active == "active" || active == "reloading":
		return supervisor.Running
	case active == "deactivating":
		return supervisor.Stopping
	case strings.HasPrefix(sub, "auto-restart"):
		return supervisor.Waiting
	}
	return supervisor.Starting
}

// last is how a unit's process ended the last time, in the words of a supervisor.
func last(p map[string]any) string {
	code, _ := p["ExecMainCode"].(int32)
	status, _ := p["ExecMainStatus"].(int32)
	result := text(p, "Result")
	switch code { // as waitid(2) has it
	case 1:
		return fmt.Sprintf("exit status %d (%s)", status, result)
	case 2, 3:
		return fmt.Sprintf("signal: %s (%s)", syscall.Signal(status), result)
	}
	return result
}

// join adds another process of a component: it is as its worst one.
func join(all, one supervisor.Status, beside bool) supervisor.Status {
	rank := map[string]int{"": 0, supervisor.Running: 1, supervisor.Starting: 2, supervisor.Waiting: 3, supervisor.Stopping: 4}
	restarts, process := all.Restarts+one.Restarts, all.Process
	if !beside {
		process = one.Process
	}
	if rank[one.State] > rank[all.State] || one.State == all.State && one.At > all.At {
		all = one
	}
	all.Restarts, all.Process = restarts, process
	return all
}

// Start starts the first of some units, and with it the others. It returns when
// systemd has.
func (m Manager) Start(ctx context.Context, units []Unit) error {
	if err := m.Install(ctx, units); err != nil {
		return err
	}
	conn, err := m.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, u := range units {
		_ = conn.ResetFailedUnitContext(ctx, u.Name) // fails for one that has not
	}
	first := units[0]
	if err := m.launch(ctx, conn, first); err != nil {
		if ctx.Err() != nil { // the connection has ended with it, and tells of nothing else
			err = ctx.Err()
		}
		return errors.Join(err, m.callOff(ctx, first.Name))
	}
	if first.Boot {
		return m.enable(first)
	}
	return nil
}

// launch has systemd start a unit, and returns when it has, and those that start with it.
func (m Manager) launch(ctx context.Context, conn *dbus.Conn, unit Unit) error {
	done := make(chan string, 1)
	if _, err := conn.StartUnitContext(ctx, unit.Name, "replace", done); err != nil {
		return fmt.Errorf("systemd does not start %s: %w", unit.Name, err)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case result := <-done:
		if result != "done" {
			return m.failed(ctx, conn, unit.Name, result)
		}
	}
	return begun(ctx, conn, unit.With)
}

// begun waits until units that start with another one have, well or not.
func begun(ctx context.Context, conn *dbus.Conn, names []string) error {
	for _, name := range names {
		for {
			state, err := conn.GetUnitPropertyContext(ctx, name, "ActiveState")
			if err != nil {
				return fmt.Errorf("systemd does not tell of %s: %w", name, err)
			}
			if text := state.Value.Value(); text == "active" || text == "failed" {
				break
			}
			if p, err := conn.GetServicePropertyContext(ctx, name, "NRestarts"); err == nil {
				if n, _ := p.Value.Value().(uint32); n > 0 {
					break
				}
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// callOff has systemd not start a unit any more, whatever that waits for; by a connection of
// its own, since the other one ends with its context.
func (m Manager) callOff(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	conn, err := m.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.StopUnitContext(ctx, name, "replace", nil)
	return err
}

func (m Manager) failed(ctx context.Context, conn *dbus.Conn, name, result string) error {
	p, err := conn.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return fmt.Errorf("systemd does not start %s: %s", name, result)
	}
	return fmt.Errorf("systemd does not start %s: %s: %s", name, result, last(p))
}

// Stop ends a component: politely until grace has passed, then by force. It
// returns when nothing is left. asked, unless it is nil, is called once systemd
// has been told.
func (m Manager) Stop(ctx context.Context, prefix string, grace time.Duration, asked func() error) (forced bool, err error) {
	if m.Here() != nil {
		return false, nil
	}
	if err := m.disable(prefix); err != nil {
		return false, err
	}
	conn, err := m.connect(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	units, err := active(ctx, conn, prefix)
	if err != nil || len(units) == 0 {
		return false, err
	}
	done := make(chan string, len(units))
	for _, u := range units {
		if _, err := conn.StopUnitContext(ctx, u.Name, "replace", done); err != nil {
			return false, fmt.Errorf("systemd does not stop %s: %w", u.Name, err)
		}
	}
	if asked != nil {
		if err := asked(); err != nil {
			return false, err
		}
	}
	forced, err = m.end(ctx, conn, units, done, grace)
	for _, u := range units {
		_ = conn.ResetFailedUnitContext(ctx, u.Name) // fails for one that has not
	}
	return forced, err
}

// end waits until units have ended, and uses force when grace has passed.
func (m Manager) end(ctx context.Context, conn *dbus.Conn, units []dbus.UnitStatus, done <-chan string, grace time.Duration) (forced bool, err error) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for left := len(units); left > 0; {
		select {
		case <-ctx.Done():
			return forced, ctx.Err()
		case <-done:
			left--
		case <-timer.C:
			forced = true
			for _, u := range units {
				if err := conn.KillUnitWithTarget(ctx, u.Name, dbus.All, int32(unix.SIGKILL)); err != nil && !gone(err) {
					return forced, fmt.Errorf("systemd does not kill %s: %w", u.Name, err)
				}
			}
		}
	}
	return forced, nil
}

// gone reports whether a unit has ended meanwhile: also while systemd looked
// through its control group, whose removal is ENODEV.
func gone(err error) bool {
	text := err.Error()
	return strings.Contains(text, "not loaded") || strings.Contains(text, "No main") || strings.Contains(text, "No such device") || errors.Is(err, unix.ESRCH)
}

// LastLines returns the end of the journal of a component since a time, as far as it
// is kept.
func (m Manager) LastLines(ctx context.Context, prefix string, since time.Time) string {
	if len(m.files(prefix)) == 0 {
		return ""
	}
	args := []string{"--unit=" + prefix + "*", "--output=cat", "--lines=5", "--no-pager", "--quiet"}
	if m.User {
		args[0] = "--user-unit=" + prefix + "*"
	}
	if !since.IsZero() {
		args = append(args, fmt.Sprintf("--since=@%d.%06d", since.Unix(), since.Nanosecond()/1000))
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "journalctl", args...).Output()
	return strings.ToValidUTF8(strings.TrimSpace(string(out[max(0, len(out)-1<<10):])), "?")
}

func text(p map[string]any, name string) string {
	s, _ := p[name].(string)
	return s
}

// monotonic is the clock of systemd's timestamps.
func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail for this clock
	return time.Duration(ts.Nano())
}
