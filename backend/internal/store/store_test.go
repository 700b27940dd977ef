package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/backend/internal/store"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func create(t *testing.T, s *store.Store, id string) {
	t.Helper()
	now := time.Now().UTC()
	if err := s.Create(t.Context(), twin.New(id, now), event(twin.Created, id)); err != nil {
		t.Fatal(err)
	}
}

func event(kind, id string) *twin.Event {
	return &twin.Event{Type: kind, Device: id, Time: time.Now().UTC()}
}

func report(t *testing.T, s *store.Store, id string, patch map[string]any) twin.Device {
	t.Helper()
	d, err := s.Update(t.Context(), id, func(d *twin.Device) (_ *twin.Event, err error) {
		d.Twin, _, err = d.Twin.Apply(twin.Patch{Reported: patch}, time.Now())
		return event(twin.TwinChanged, id), err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// take reads n events, or fails.
func take(t *testing.T, s *store.Store, device string, after uint64, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	for e, err := range s.Events(ctx, device, after) {
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		got = append(got, e.Device+" "+e.Type)
		if len(got) == n {
			break
		}
	}
	return got
}

// awkward ids hold what NATS takes for separators and wildcards.
const awkward = "a.b*c#d?e$(f):g%h@i"

func TestDevicesAreKeptOverRestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	create(t, s, awkward)
	patch, err := twin.Decode([]byte(`{"a":{"big":4503599627370495,"x":1.50}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := report(t, s, awkward, patch)
	s.Close()

	s = open(t, dir)
	got, err := s.Device(t.Context(), awkward)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Twin.Reported.Values, got.Twin.Reported.Values); diff != "" {
		t.Error(diff)
	}
	if got.Twin.Reported.Version != 2 {
		t.Errorf("version %d", got.Twin.Reported.Version)
	}
	events := take(t, s, awkward, 0, 2)
	if diff := cmp.Diff([]string{awkward + " " + twin.Created, awkward + " " + twin.TwinChanged}, events); diff != "" {
		t.Error(diff)
	}
}

func TestRegistry(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	if _, err := s.Device(ctx, "a"); !errors.Is(err, twin.DeviceNotFound) {
		t.Error(err)
	}
	create(t, s, "a")
	if err := s.Create(ctx, twin.New("a", time.Now()), nil); !errors.Is(err, twin.DeviceExists) {
		t.Error(err)
	}
	refused := errors.New("refused")
	err := s.Delete(ctx, "a", func(twin.Device) (*twin.Event, error) { return nil, refused })
	if !errors.Is(err, refused) {
		t.Error(err)
	}
	if err := s.Delete(ctx, "a", func(twin.Device) (*twin.Event, error) { return event(twin.Deleted, "a"), nil }); err != nil {
		t.Error(err)
	}
	if _, err := s.Device(ctx, "a"); !errors.Is(err, twin.DeviceNotFound) {
		t.Error(err)
	}
	create(t, s, "a")
	create(t, s, "b")
	ids := map[string]bool{}
	for d, err := range s.Devices(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		ids[d.ID] = true
	}
	if diff := cmp.Diff(map[string]bool{"a": true, "b": true}, ids); diff != "" {
		t.Error(diff)
	}
	want := []string{"a deviceCreated", "a deviceDeleted", "a deviceCreated", "b deviceCreated"}
	if diff := cmp.Diff(want, take(t, s, "", 0, 4)); diff != "" {
		t.Error(diff)
	}
}

func TestConcurrentUpdatesLoseNothing(t *testing.T) {
	s := open(t, t.TempDir())
	create(t, s, "a")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := s.Update(t.Context(), "a", func(d *twin.Device) (_ *twin.Event, err error) {
				patch := map[string]any{fmt.Sprint(i): true}
				d.Twin, _, err = d.Twin.Apply(twin.Patch{Reported: patch}, time.Now())
				return event(twin.TwinChanged, "a"), err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d, err := s.Device(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Twin.Reported.Values) != 20 || d.Twin.Reported.Version != 21 {
		t.Errorf("%d values, version %d", len(d.Twin.Reported.Values), d.Twin.Reported.Version)
	}
	take(t, s, "a", 0, 21)
}

func TestEventsOfOneDeviceResume(t *testing.T) {
	s := open(t, t.TempDir())
	for _, id := range []string{"a", "b"} {
		create(t, s, id)
	}
	position, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	report(t, s, "b", map[string]any{"x": true})
	if err := s.Append(t.Context(), *event(twin.Telemetry, "a")); err != nil {
		t.Fatal(err)
	}
	report(t, s, "a", map[string]any{"x": true})
	if diff := cmp.Diff([]string{"a telemetry", "a twinChanged"}, take(t, s, "a", position, 2)); diff != "" {
		t.Error(diff)
	}
}

// A name keeps other events with the same of one device out, also after a restart.
func TestNamedEventsComeOnce(t *testing.T) {
	dir := t.TempDir()
	append := func(s *store.Store, device, once string) {
		e := event(twin.Telemetry, device)
		e.Once = once
		if err := s.Append(t.Context(), *e); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir)
	append(s, "a", "1")
	append(s, "a", "1")
	append(s, "b", "1")
	s.Close()
	s = open(t, dir)
	append(s, "a", "1")
	append(s, "a", "2")
	append(s, "a", "")
	append(s, "a", "")
	if position, err := s.Position(t.Context()); err != nil || position != 5 {
		t.Errorf("%d events, %v, want 5", position, err)
	}
}

func TestDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := store.Open(t.Context(), store.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a second store opened the same directory")
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		t.Error(info, err)
	}
}

// TestLost: whoever comes for events that the log has dropped hears of it once, and how many they are.
func TestLost(t *testing.T) {
	s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), LogBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	flood := &twin.Event{Type: twin.Telemetry, Device: "a", Body: json.RawMessage(`"` + strings.Repeat("x", 4<<10) + `"`)}
	for range 40 {
		if err := s.Append(t.Context(), *flood); err != nil {
			t.Fatal(err)
		}
	}
	for _, after := range []uint64{0, 7, 39} {
		var got []twin.Event
		for e, err := range s.Events(t.Context(), "", after) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, e); e.Sequence == 40 {
				break
			}
		}
		if first := got[0]; first.Sequence != after+first.Lost+1 || first.Lost == 0 != (after == 39) {
			t.Errorf("after %d: event %d, %d lost", after, first.Sequence, first.Lost)
		}
		for _, e := range got[1:] {
			if e.Lost != 0 {
				t.Errorf("after %d: event %d tells of %d lost ones once more", after, e.Sequence, e.Lost)
			}
		}
	}
}
