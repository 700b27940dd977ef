package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Cancel in every step of the real list: the update turns back, wholly, or
// the caller hears that it is too late. A second cancel is refused.
func TestCancelInEveryStep(t *testing.T) {
	p := build(t, "1m")
	for i, s := range new(Engine).steps() {
		t.Run(s.Name, func(t *testing.T) {
			w, e := newWorld(t, p)
			steps := e.steps()
			do := steps[i].Do
			steps[i].Do = func(ctx context.Context, u *Update) error {
				cancelIn(t, ctx, e, s.Cancel)
				return do(ctx, u)
			}
			o, err := e.run(t.Context(), steps, Update{ID: "u", Component: component, From: w.installed, Wish: Wish{Version: "2.0.0"}})
			if err != nil {
				t.Fatal(err)
			}
			want := TurnedBack
			switch {
			case s.Cancel == tooLate:
				want = Updated
			case s.Phase == Request || s.Phase == Preparation:
				want = Refused
			}
			if o.Result != want || want != Updated && !strings.Contains(o.Cause, "cancelled: by Ada") {
				t.Errorf("%s, %q, want %s", o.Result, o.Cause, want)
			}
			w.check(t, o)
			if err := e.Cancel(component, "late"); !errors.Is(err, ErrNoUpdate) {
				t.Errorf("cancel after the end: %v", err)
			}
		})
	}
}

// cancelIn cancels in a step, and looks whether that interrupts it.
func cancelIn(t *testing.T, ctx context.Context, e *Engine, how Cancellation) {
	t.Helper()
	err := e.Cancel(component, "by Ada")
	if how == tooLate {
		if !errors.Is(err, ErrTooLate) {
			t.Errorf("cancel: %v, want %v", err, ErrTooLate)
		}
		return
	}
	if err != nil {
		t.Errorf("cancel: %v", err)
	}
	if interrupted := ctx.Err() != nil; interrupted != (how == atOnce) {
		t.Errorf("interrupted: %v", interrupted)
	}
	if err := e.Cancel(component, "again"); !errors.Is(err, ErrGoesBack) {
		t.Errorf("a second cancel: %v", err)
	}
}

// An updater that needs a reboot gets one: the update waits, across restarts
// of the agent, and makes the same call again in the next boot.
func TestReboot(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	w.switches = 0
	e.BootID = filepath.Join(t.TempDir(), "boot_id")
	boot := func(id string) {
		if err := os.WriteFile(e.BootID, []byte(id+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	boot("first")
	w.rebooted = func() bool { return e.boot() == "second" }
	var told Progress
	e.Tell = func(p Progress) { told = p }
	for range 20 { // more often than the step may be begun: the agent restarts, the device does not
		_, err := w.update(t, e, "2.0.0")
		var wait Wait
		if !errors.As(err, &wait) || wait.Boot != "first" || !strings.Contains(wait.For, "new slot") {
			t.Fatalf("error %v", err)
		}
		if told.Waiting == nil || told.Step != "rewrite" || w.switches != 1 {
			t.Fatalf("told %+v, %d calls", told, w.switches)
		}
	}
	boot("second")
	o, err := w.update(t, e, "2.0.0")
	if err != nil || o.Result != Updated || told.Waiting != nil {
		t.Fatalf("%+v, %v", o, err)
	}
	w.check(t, o)
}

// A device that is rebooted for ever gives up.
func TestRebootLoop(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	e.BootID = filepath.Join(t.TempDir(), "boot_id")
	w.rebooted = func() bool { return w.switches > 20 }
	for boots := range 20 {
		if err := os.WriteFile(e.BootID, []byte{'a' + byte(boots)}, 0o600); err != nil {
			t.Fatal(err)
		}
		if o, err := w.update(t, e, "2.0.0"); err == nil {
			t.Logf("%d boots: %s", boots, o.Cause)
			return
		}
	}
	t.Fatal("it never gave up")
}

// An update that waits can be cancelled, and that survives the agent.
func TestCancelWhileWaiting(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	first := true
	w.rebooted = func() bool { return !first }
	if _, err := w.update(t, e, "2.0.0"); err == nil {
		t.Fatal("it does not wait")
	}
	if err := e.Cancel(component, "by Ada"); err != nil {
		t.Fatal(err)
	}
	if err := e.Cancel(component, "again"); !errors.Is(err, ErrGoesBack) {
		t.Errorf("a second cancel: %v", err)
	}
	first = false
	o, err := w.update(t, e, "2.0.0")
	if err != nil || o.Result != TurnedBack || !strings.Contains(o.Cause, "by Ada") {
		t.Fatalf("%+v, %v", o, err)
	}
	w.check(t, o)
}

// needReboot is what the world's updater says when it has written a version
// that only another boot brings up.
func (w *world) needReboot() error {
	if w.switches++; w.rebooted == nil || w.rebooted() {
		return nil
	}
	return errors.Join(errors.New("the new slot is written"), updater.ErrReboot)
}
