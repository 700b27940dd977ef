package engine

import (
	"context"
	"errors"
	"fmt"
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
			if o.Cancelled != (want != Updated) {
				t.Errorf("cancelled: %v", o.Cancelled)
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
	s := newSlowWorld(t, build(t, "1m"))
	s.consented = true
	var told Progress
	s.engine.Tell = func(p Progress) { told = p }
	for range 20 { // more often than the step may be begun: the agent restarts, the device does not
		before := len(s.written)
		_, err := s.update(t, s.engine, "2.0.0")
		var wait Wait
		if !errors.As(err, &wait) || wait.Boot != "1" || !strings.Contains(wait.For, "the slot is written") {
			t.Fatalf("error %v", err)
		}
		if told.Waiting == nil || told.Step != "rewrite" || before != 0 && s.journal.Begun != 1 {
			t.Fatalf("told %+v, journal %+v", told, s.journal)
		}
	}
	s.boots++
	o, err := s.update(t, s.engine, "2.0.0")
	if err != nil || o.Result != Updated || told.Waiting != nil {
		t.Fatalf("%+v, %v", o, err)
	}
	s.check(t, o)
}

// A device that is rebooted for ever gives up.
func TestRebootLoop(t *testing.T) {
	s := newSlowWorld(t, build(t, "1m"))
	s.consented = true
	s.switched = func(string) error { return updater.ErrReboot }
	for range 20 {
		s.boots++
		if o, err := s.update(t, s.engine, "2.0.0"); err == nil {
			if o.Result != Inconsistent || !strings.Contains(o.Cause, "cannot undo rewrite") || !strings.Contains(o.Cause, "first failure") {
				t.Errorf("after %d boots: %+v", s.boots, o)
			}
			return
		}
	}
	t.Fatal("it never gave up")
}

// TestCancelledBeforeItBegins: the outcome of an update that was cancelled while
// it waited says so, and not only that it was refused.
func TestCancelledBeforeItBegins(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	e.Permit = func(Update) error { return fmt.Errorf("%w as asked", ErrCancelled) }
	o, err := w.update(t, e, "2.0.0")
	if err != nil || o.Result != Refused || !o.Cancelled {
		t.Errorf("%+v, %v", o, err)
	}
	w.check(t, o)
}
