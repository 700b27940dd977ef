package exec

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/application/internal/exec/disk"
	"github.com/tranquil-iot/tranquil/plugins/application/internal/exec/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

const (
	logSize     = 1 << 20 // bytes of a log file
	logKeep     = 4       // older ones
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Start hands the component its state and starts a supervisor for it.
func (u *Updater) Start(ctx context.Context, r updater.StartRequest) error {
	h, done, err := u.work(ctx, r.Component)
	if err != nil {
		return err
	}
	defer done()
	if err := h.start(ctx); err != nil {
		return fmt.Errorf("cannot start %s: %w", r.Component, err)
	}
	return nil
}

func (h home) start(ctx context.Context) error {
	v, ok, err := h.current()
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("it is not installed: stage a version and switch to it first")
	}
	now, runs, err := h.supervised(ctx)
	if err != nil {
		return err
	}
	if runs && now.Spec.Version == v.ID && now.State != supervisor.Stopping {
		return errors.Join(removeAll(h.saved()), h.handOver(ctx, v, now.Spec.Control), disk.SyncNames(h.dir))
	}
	if runs {
		if _, err := supervisor.Stop(ctx, h.run(), h.mark(), time.Duration(v.Settings.Grace)); err != nil {
			return err
		}
	}
	if err := h.takeOver(ctx, v); err != nil {
		return err
	}
	err = supervisor.Start(ctx, []string{SuperviseArg}, h.run(), h.spec(v))
	if errors.Is(err, supervisor.ErrEnded) {
		err = fmt.Errorf("%w: %w", updater.ErrRetry, err)
	}
	if err != nil {
		return h.withLog(err)
	}
	// What takeOver has renamed, now that the component does not wait for it.
	return errors.Join(h.handOver(ctx, v, h.control), disk.SyncNames(h.dir), h.discardOld())
}

// supervised returns what the component's supervisor tells, if one runs.
func (h home) supervised(ctx context.Context) (status supervisor.Status, runs bool, err error) {
	p, err := supervisor.Find(ctx, h.run())
	if err != nil || p == nil {
		return status, false, err
	}
	defer p.Close()
	return p.Status, true, nil
}

// spec says how to run v. The variables that Tranquil promises come last, so
// that they win.
func (h home) spec(v version) supervisor.Spec {
	env := []string{"PATH=" + cmp.Or(os.Getenv("PATH"), defaultPath)}
	for key, value := range v.Settings.Env {
		env = append(env, key+"="+value)
	}
	env = append(env,
		component.EnvComponent+"="+h.component,
		component.EnvVersion+"="+v.Version,
		component.EnvControl+"="+h.control,
		component.EnvLink+"="+h.link,
		h.mark(),
	)
	fresh := []string{h.control}
	if v.Settings.Health.File != "" {
		fresh = append(fresh, filepath.Join(v.files(), v.Settings.Health.File))
	}
	return supervisor.Spec{
		Version: v.ID, Control: h.control,
		Dir: v.files(), Command: v.Settings.Command, Env: env,
		Mark: h.mark(), Fresh: fresh, Needs: []string{h.state()},
		Log: h.logFile(), LogSize: logSize, LogKeep: logKeep,
	}
}

// mark is the variable by which the component's processes are recognised.
func (h home) mark() string { return component.EnvState + "=" + h.state() }

// Stop asks a component with handover for its state, then ends all of it.
func (u *Updater) Stop(ctx context.Context, r updater.StopRequest) (updater.StopResponse, error) {
	h, done, err := u.work(ctx, r.Component)
	if err != nil {
		return updater.StopResponse{}, err
	}
	defer done()
	forced, err := u.stop(ctx, h, r.Grace)
	if err != nil {
		return updater.StopResponse{}, fmt.Errorf("cannot stop %s: %w", r.Component, err)
	}
	if forced {
		u.log.Warn("component was stopped by force", "component", r.Component)
	}
	return updater.StopResponse{Forced: forced}, nil
}

func (u *Updater) stop(ctx context.Context, h home, grace time.Duration) (forced bool, err error) {
	now, runs, err := h.supervised(ctx)
	if err != nil {
		return false, err
	}
	var v version
	if runs {
		// The running version may be gone if somebody else removed it; it
		// can be stopped without its settings.
		v, _ = h.version(now.Spec.Version)
	}
	grace = cmp.Or(grace, time.Duration(v.Settings.Grace), defaultGrace)
	if runs && v.Settings.State == stateHandover {
		if err := h.collect(ctx, now.Spec.Control, grace); err != nil {
			u.log.Warn("component does not hand over its state", "component", h.component, "cause", err)
		}
	}
	forced, err = supervisor.Stop(ctx, h.run(), h.mark(), grace)
	if err != nil {
		return forced, err
	}
	return forced, h.promote()
}

// Status tells what is switched to and whether it runs.
func (u *Updater) Status(ctx context.Context, r updater.StatusRequest) (updater.StatusResponse, error) {
	h, err := u.home(r.Component)
	if err != nil {
		return updater.StatusResponse{}, err
	}
	v, installed, err := h.current()
	if err != nil {
		return updater.StatusResponse{}, fmt.Errorf("cannot tell the status of %s: %w", r.Component, err)
	}
	now, runs, err := h.supervised(ctx)
	if err != nil {
		return updater.StatusResponse{}, fmt.Errorf("cannot tell the status of %s: %w", r.Component, err)
	}
	running := runs && now.State == supervisor.Running
	answer := updater.StatusResponse{Version: v.Version, Running: running, Restarts: now.Restarts}
	if installed {
		answer.Handle = v.handle()
		answer.NoState = v.Settings.State != stateHandover && !h.hasState()
	}
	return answer, nil
}

// hasState reports whether there is a state that a start would find. What a
// component with handover keeps by itself nobody can see.
func (h home) hasState() bool {
	return disk.Exists(h.state()) || disk.Exists(h.incoming()) || disk.Exists(h.saved())
}

// withLog adds the last lines of the component's log to an error.
func (h home) withLog(err error) error {
	if lines := h.lastLines(); lines != "" {
		return fmt.Errorf("%w; its log ends with:\n%s", err, lines)
	}
	return err
}

// lastLines returns the end of the component's log.
func (h home) lastLines() string {
	const lines, size = 5, 1 << 10
	file, err := os.Open(h.logFile())
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > size {
		file.Seek(-size, io.SeekEnd)
	}
	tail, _ := io.ReadAll(io.LimitReader(file, size))
	all := bytes.Split(bytes.TrimSpace(tail), []byte("\n"))
	return string(bytes.ToValidUTF8(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")), []byte("?")))
}

// inUse fails if the component runs: its state must not be touched then.
func (h home) inUse(ctx context.Context) error {
	now, runs, err := h.supervised(ctx)
	if err == nil && runs {
		err = fmt.Errorf("it is %s: stop it first", now.State)
	}
	if err != nil {
		return err
	}
	return os.MkdirAll(h.dir, 0o700)
}

// takeOver makes the incoming state the live one, or readies it to be handed
// over. It may be repeated after it was cut off at any point: until the last
// rename is on the disk, incoming exists and the live state is not looked at.
func (h home) takeOver(ctx context.Context, v version) error {
	if err := errors.Join(h.promote(), removeAll(h.incoming()+component.AppliedSuffix)); err != nil {
		return err
	}
	live, lone := h.state(), h.lone()
	if disk.Exists(h.incoming()) {
		if v.Settings.State == stateHandover {
			live = h.incoming()
		} else if err := h.replaceState(); err != nil {
			return err
		}
	} else if err := h.keepState(); err != nil {
		return err
	}
	if err := os.MkdirAll(h.state(), 0o700); err != nil || lone {
		return err
	}
	// What was saved may share its files with the state: now that the
	// component will write them in place, it gets its own.
	return disk.Unshare(ctx, live, h.path(".unshared"))
}
