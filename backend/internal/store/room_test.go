package store_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/store"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// TestFlood: whoever fills the log, the others' events stay.
func TestFlood(t *testing.T) {
	t.Parallel()
	const size, part = 2 << 20, 8 << 10
	body := json.RawMessage(`"` + strings.Repeat("x", part) + `"`)
	send := func(t *testing.T, s *store.Store, id string) {
		if err := s.Append(t.Context(), twin.Event{Type: twin.Telemetry, Device: id, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	for name, flood := range map[string]func(t *testing.T, s *store.Store){
		"messages of one": func(t *testing.T, s *store.Store) {
			for range 2 * size / part {
				send(t, s, "flood")
			}
		},
		"messages of all": func(t *testing.T, s *store.Store) {
			for i := range 2 * size / part {
				send(t, s, fmt.Sprint("flood-", i%50))
			}
		},
		"changes of one": func(t *testing.T, s *store.Store) {
			create(t, s, "flood")
			for range 2 * size / part {
				_, err := s.Update(t.Context(), "flood", func(*twin.Device) (*twin.Event, error) {
					return &twin.Event{Type: twin.TwinChanged, Device: "flood", Time: time.Now(), Body: body}, nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), LogBytes: size})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			create(t, s, "quiet")
			report(t, s, "quiet", map[string]any{"x": true})
			flood(t, s)
			report(t, s, "quiet", map[string]any{"x": false})
			want := []string{"quiet " + twin.Created, "quiet " + twin.TwinChanged, "quiet " + twin.TwinChanged}
			if diff := cmp.Diff(want, take(t, s, "quiet", 0, 3)); diff != "" {
				t.Error(diff)
			}
			last, err := s.Position(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, event := range take(t, s, "", last-10, 10)[:9] { // who is not far behind has lost nothing
				if !strings.HasPrefix(event, "flood") {
					t.Error(event)
				}
			}
		})
	}
}

// TestFewDevices: while there is room, a device may have more than its share.
func TestFewDevices(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), LogBytes: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	const n = 400 // of 2 KiB and more, two fifths of the log
	for range n {
		if err := s.Append(t.Context(), twin.Event{Type: twin.Telemetry, Device: "a", Body: json.RawMessage(`"` + strings.Repeat("x", 2000) + `"`)}); err != nil {
			t.Fatal(err)
		}
	}
	next := uint64(1)
	for e, err := range s.Events(t.Context(), "", 0) {
		if err != nil || e.Sequence != next || e.Lost > 0 {
			t.Fatal(e.Sequence, e.Lost, err)
		}
		if next++; e.Sequence == n {
			break
		}
	}
}

// TestLargeEvents: more than a reader's memory holds comes in order.
func TestLargeEvents(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const n = 60
	for i := range n {
		body := json.RawMessage(`"` + strings.Repeat("x", 1000+i%3*300_000) + `"`)
		if err := s.Append(t.Context(), twin.Event{Type: twin.Telemetry, Device: fmt.Sprint(i), Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	for i, event := range take(t, s, "", 0, n) {
		if event != fmt.Sprint(i)+" "+twin.Telemetry {
			t.Errorf("%s comes as number %d", event, i)
		}
	}
}
