package store

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

func openInternal(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func testEvent(kind string) *twin.Event {
	return &twin.Event{Type: kind, Device: "a", Time: time.Now().UTC()}
}

func position(t *testing.T, s *Store) uint64 {
	t.Helper()
	p, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A crash after an entry is written and before its event is appended loses no event, and none comes twice.
func TestEventAfterCrash(t *testing.T) {
	dir := t.TempDir()
	s := openInternal(t, dir)
	if err := s.Create(t.Context(), twin.New("a", time.Now()), testEvent(twin.Created)); err != nil {
		t.Fatal(err)
	}
	e, err := s.load(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	e.Event = testEvent(twin.TwinChanged)
	if _, err := s.swap(t.Context(), "a", e); err != nil { // and the power goes
		t.Fatal(err)
	}
	s.Close()
	for range 2 {
		s = openInternal(t, dir)
		if got := position(t, s); got != 2 {
			t.Errorf("log has %d events, want 2", got)
		}
		s.Close()
	}
}

// A crash between the events of one change loses none, and none comes twice.
func TestEventsAfterCrash(t *testing.T) {
	dir := t.TempDir()
	s := openInternal(t, dir)
	e := entry{Device: twin.New("a", time.Now()), Event: testEvent(twin.TwinChanged)}
	e.Event.Then = []twin.Event{*testEvent(twin.UpdateFinished), *testEvent(twin.UpdateStarted)}
	var err error
	if e.revision, err = s.swap(t.Context(), "a", e); err != nil {
		t.Fatal(err)
	}
	half := e
	half.Event = testEvent(twin.TwinChanged)
	half.Event.Then = e.Event.Then[:1]
	if err := s.send(t.Context(), half, 0); err != nil { // and the power goes
		t.Fatal(err)
	}
	s.Close()
	for range 2 {
		s = openInternal(t, dir)
		var got []string
		err := s.readAll(t.Context(), s.events, allChanges, func(msg jetstream.Msg) error {
			e, err := decodeEvent(msg)
			got = append(got, e.Type)
			if len(e.Then) > 0 {
				t.Error("an event holds others")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{twin.TwinChanged, twin.UpdateFinished, twin.UpdateStarted}; !slices.Equal(got, want) {
			t.Error(got)
		}
		s.Close()
	}
}

// A crash in the middle of a deletion ends with the device gone and its event told.
func TestDeletionAfterCrash(t *testing.T) {
	dir := t.TempDir()
	s := openInternal(t, dir)
	if err := s.Create(t.Context(), twin.New("a", time.Now()), testEvent(twin.Created)); err != nil {
		t.Fatal(err)
	}
	e, err := s.load(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	e.Event, e.Deleted = testEvent(twin.Deleted), true
	if _, err := s.swap(t.Context(), "a", e); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openInternal(t, dir)
	if got := position(t, s); got != 2 {
		t.Errorf("log has %d events, want 2", got)
	}
	if e, err := s.load(t.Context(), "a"); err != nil || e.revision != 0 {
		t.Errorf("entry is still there: %+v %v", e, err)
	}
}

// An event that could not be appended comes before the next one.
func TestUnsentEventComesFirst(t *testing.T) {
	s := openInternal(t, t.TempDir())
	e := entry{Device: twin.New("a", time.Now()), Event: testEvent(twin.Created)}
	if _, err := s.swap(t.Context(), "a", e); err != nil {
		t.Fatal(err)
	}
	s.unsent.Store("a", true)
	_, err := s.Update(t.Context(), "a", func(*twin.Device) (*twin.Event, error) { return testEvent(twin.Connected), nil })
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range s.Events(t.Context(), "a", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Type); len(got) == 2 {
			break
		}
	}
	if got[0] != twin.Created || got[1] != twin.Connected {
		t.Error(got)
	}
}

func TestSlowerWriterConflicts(t *testing.T) {
	s := openInternal(t, t.TempDir())
	if err := s.Create(t.Context(), twin.New("a", time.Now()), nil); err != nil {
		t.Fatal(err)
	}
	calls := 0
	_, err := s.Update(t.Context(), "a", func(d *twin.Device) (*twin.Event, error) {
		if calls++; calls == 1 { // another node writes in between
			e, err := s.load(t.Context(), "a")
			if err != nil {
				return nil, err
			}
			e.Device.StatusReason = "other"
			if _, err := s.swap(t.Context(), "a", e); err != nil {
				return nil, err
			}
		}
		d.Disabled = true
		return nil, nil
	})
	if err != nil || calls != 2 {
		t.Fatalf("%d calls, %v", calls, err)
	}
	d, err := s.Device(t.Context(), "a")
	if err != nil || !d.Disabled || d.StatusReason != "other" {
		t.Errorf("%+v %v", d, err)
	}
	if !conflict(jetstream.ErrKeyExists) {
		t.Error("an existing key is no conflict")
	}
}
