package updater

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFieldsTravel(t *testing.T) {
	c, ctx := connectFake(t), t.Context()
	text := func(err error) string { return err.Error() }
	stage, err := c.Stage(ctx, StageRequest{"a", "1.0.0", "/blob", "tar", []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	stop, _ := c.Stop(ctx, StopRequest{"a", 5})
	probe, _ := c.Probe(ctx, ProbeRequest{"a"})
	status, _ := c.Status(ctx, StatusRequest{"env"})
	got := []any{
		stage.Handle, stop, probe, status,
		text(c.Unstage(ctx, UnstageRequest{"a", "1", Handle{}})),
		text(c.Unstage(ctx, UnstageRequest{"a", "1", Handle{Version: 1}})),
		text(c.Switch(ctx, SwitchRequest{"a", Handle{2, []byte("d")}})),
		text(c.Start(ctx, StartRequest{"a"})),
		text(c.Save(ctx, SaveRequest{"a", "/d", "/s"})),
		text(c.Apply(ctx, ApplyRequest{"a", "/d"})),
		text(c.TakeBack(ctx, TakeBackRequest{"a", "/d"})),
		text(c.Snapshot(ctx, SnapshotRequest{"a", "/d"})),
		text(c.Quiesce(ctx, QuiesceRequest{"a"})),
		text(c.Resume(ctx, ResumeRequest{"a"})),
		text(c.Confirm(ctx, ConfirmRequest{"a"})),
	}
	want := []any{
		Handle{7, []byte("a 1.0.0 /blob tar {}")},
		StopResponse{Forced: true},
		ProbeResponse{true, "a"},
		StatusResponse{Running: true, Restarts: 3, NoState: true},
		"a 1 true", "a 1 false", "a 2 d", "a", "save a /d/s", "apply a /d", "take back a /d", "snapshot a /d", "quiesce a", "resume a", "confirm a",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestErrorsTravel(t *testing.T) {
	c := connectFake(t)
	for _, tc := range []struct {
		component, text string
		is              error
	}{
		{"retry", "engine is busy: try again", ErrRetry},
		{"reboot", "slot B is written: the device has to be rebooted first", ErrReboot},
		{"fail", "disk is full", nil},
		{"panic", "panic in the updater's Stage: oh no", nil},
		{"huge", "the updater's handle has 65537 bytes", nil},
	} {
		_, err := c.Stage(t.Context(), StageRequest{Component: tc.component})
		if err == nil || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: error %v, want %q", tc.component, err, tc.text)
		}
		if tc.is != nil && !errors.Is(err, tc.is) || !errors.Is(tc.is, ErrRetry) && errors.Is(err, ErrRetry) {
			t.Errorf("%s: error %v wraps the wrong sentinel", tc.component, err)
		}
	}
}

func TestContextsTravel(t *testing.T) {
	c := connectFake(t)
	late, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Stage(late, StageRequest{Component: "wait"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, end)
	if _, err := c.Stage(ended, StageRequest{Component: "wait"}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the cancellation: %v", err)
	}
	if _, err := c.Stage(t.Context(), StageRequest{Component: "other"}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// plain implements nothing optional.
type plain struct{ Updater }

func TestOptionalInterfaces(t *testing.T) {
	c, err := Connect(t.Context(), "firmware", plain{&fake{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	if d := cmp.Diff(Capabilities{Type: "firmware"}, CapabilitiesOf(c)); d != "" {
		t.Errorf("announced: %s", d)
	}
	all := Capabilities{"application", true, true, true, true, true, true, true}
	if d := cmp.Diff(all, CapabilitiesOf(connectFake(t))); d != "" {
		t.Errorf("announced: %s", d)
	}
	if err := c.Save(t.Context(), SaveRequest{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Save that is not there: %v", err)
	}
	c.caps = all // even if the agent asks nevertheless
	if _, err := c.Probe(t.Context(), ProbeRequest{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Probe that is not there: %v", err)
	}
}

// slow notes whether two calls overlap on one component.
type slow struct {
	Updater
	now, most atomic.Int32
	block     chan struct{}
}

func (s *slow) Start(context.Context, StartRequest) error {
	s.most.Store(max(s.most.Load(), s.now.Add(1)))
	defer s.now.Add(-1)
	<-s.block // in spite of ctx
	return nil
}

func TestCallsForOneComponentNeverOverlap(t *testing.T) {
	u := &slow{block: make(chan struct{})}
	c, err := Connect(t.Context(), "application", u, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	call := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		// Whose clock ends a call that waits, the agent's or the updater's, is open.
		if err := c.Start(ctx, StartRequest{"a"}); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrRetry) {
			t.Errorf("Start: %v", err)
		}
	}
	for u.now.Load() == 0 { // this call goes on although the agent gives it up
		call()
	}
	call()
	close(u.block)
	if err := c.Start(t.Context(), StartRequest{"a"}); err != nil {
		t.Error(err)
	}
	if n := u.most.Load(); n != 1 {
		t.Errorf("%d calls at once", n)
	}
}

func TestOverrun(t *testing.T) {
	overrun := make(chan string, 1)
	u := &slow{block: make(chan struct{})}
	s := newServer("application", u, slog.New(slog.DiscardHandler))
	s.grace, s.overrun = time.Millisecond, func(method string) { overrun <- method; close(u.block) }
	ctx, cancel := context.WithCancel(t.Context())
	call(ctx, s, "Start", "a", func() (int, error) {
		cancel()
		return 0, u.Start(ctx, StartRequest{})
	})
	select {
	case method := <-overrun:
		if method != "Start" {
			t.Errorf("%s did not end", method)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody noticed")
	}
}
