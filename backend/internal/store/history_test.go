package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// ends changes a device, which tells how updates of components have ended.
func ends(t *testing.T, s *Store, device string, ids ...string) {
	t.Helper()
	var components []string
	for i, id := range ids {
		components = append(components, fmt.Sprintf(`"application/x%d":{"outcome":{"id":%q,"result":"updated"}}`, i, id))
	}
	body := json.RawMessage(`{"version":2,"properties":{"reported":{"components":{` + strings.Join(components, ",") + `}}}}`)
	_, err := s.Update(t.Context(), device, func(*twin.Device) (*twin.Event, error) {
		return &twin.Event{Type: twin.TwinChanged, Device: device, Time: time.Now().UTC(), Body: body}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func newDevice(t *testing.T, s *Store, id string) {
	t.Helper()
	if err := s.Create(t.Context(), twin.New(id, time.Now()), &twin.Event{Type: twin.Created, Device: id, Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
}

// remembers answers the ids of outcomes, and whether some may be missing.
func remembers(t *testing.T, s *Store, device string) (ids []string, some bool) {
	t.Helper()
	h, err := s.History(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range h.Outcomes {
		ids = append(ids, o.ID)
	}
	return ids, !h.Since.IsZero()
}

// TestHistory: outcomes are kept when the log is not, the newest first, over restarts, and go with their device.
func TestHistory(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(t.Context(), Config{Dir: dir, Log: slog.New(slog.DiscardHandler), LogBytes: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	s := open()
	for _, id := range []string{"a", "b"} {
		newDevice(t, s, id)
	}
	ends(t, s, "a", "u1", "u2")
	ends(t, s, "b", "v1")
	ends(t, s, "a", "u3")
	e, err := s.load(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.events.Purge(t.Context()); err != nil { // and the power has gone before the log had the last
		t.Fatal(err)
	}
	s.Close()
	s = open()
	if err := s.remember(t.Context(), *e.Event, mark{revision: e.revision, index: 0}.String()+".0"); err != nil { // under a name of its own, as after a while
		t.Fatal(err)
	}
	if got, some := remembers(t, s, "a"); !slices.Equal(got, []string{"u3", "u2", "u1"}) || some {
		t.Error(got, some)
	}
	if got, some := remembers(t, s, "b"); !slices.Equal(got, []string{"v1"}) || some {
		t.Error(got, some)
	}
	if err := s.Delete(t.Context(), "a", func(twin.Device) (*twin.Event, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.History(t.Context(), "a"); !errors.Is(err, twin.DeviceNotFound) {
		t.Error(err)
	}
	newDevice(t, s, "a")
	if got, some := remembers(t, s, "a"); len(got) > 0 || some {
		t.Error(got, some)
	}
}

// TestHistoryIsBounded: one device has so many outcomes at most, which takes nothing from others; and it says so.
func TestHistoryIsBounded(t *testing.T) {
	s := openInternal(t, t.TempDir())
	for _, id := range []string{"a", "b"} {
		newDevice(t, s, id)
	}
	ends(t, s, "b", "v1")
	for i := range maxOutcomes + 2 {
		ends(t, s, "a", fmt.Sprint("u", i))
	}
	got, some := remembers(t, s, "a")
	if len(got) != maxOutcomes || got[0] != fmt.Sprint("u", maxOutcomes+1) || !some {
		t.Error(len(got), got[0], some)
	}
	if got, some := remembers(t, s, "b"); len(got) != 1 || some {
		t.Error(got, some)
	}
}

// TestHistoryOfBefore: what is only in the event log of an earlier version is carried over once. If that had dropped
// events, the history says so to whoever is older.
func TestHistoryOfBefore(t *testing.T) {
	dir := t.TempDir()
	s := openInternal(t, dir)
	newDevice(t, s, "a")
	ends(t, s, "a", "u1")
	ends(t, s, "a", "u2", "u3")
	before := func(drop uint64) *Store {
		t.Helper()
		if drop > 0 {
			if err := s.drop(t.Context(), "events.>", drop); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.js.DeleteStream(t.Context(), "history"); err != nil {
			t.Fatal(err)
		}
		s.Close()
		return openInternal(t, dir)
	}
	s = before(0)
	if got, some := remembers(t, s, "a"); !slices.Equal(got, []string{"u3", "u2", "u1"}) || some {
		t.Error(got, some)
	}
	s = before(2)
	newDevice(t, s, "b")
	for range 2 { // also after the next start
		if got, some := remembers(t, s, "a"); !slices.Equal(got, []string{"u3", "u2"}) || !some {
			t.Error(got, some)
		}
		if got, some := remembers(t, s, "b"); len(got) > 0 || some {
			t.Error(got, some)
		}
		s.Close()
		s = openInternal(t, dir)
	}
}

// TestHoles: a reader hears once of all that is missing between what there is, and again of what goes while it reads.
func TestHoles(t *testing.T) {
	s := openInternal(t, t.TempDir())
	newDevice(t, s, "a")
	for i := range 10 { // 2, 4, … are messages
		if err := s.Append(t.Context(), twin.Event{Type: twin.Telemetry, Device: fmt.Sprint(i % 2)}); err != nil {
			t.Fatal(err)
		}
		ends(t, s, "a", fmt.Sprint(i))
	}
	if err := s.drop(t.Context(), allMessages, 9); err != nil { // 2, 4, 6, 8
		t.Fatal(err)
	}
	lost := map[uint64]uint64{}
	for e, err := range s.Events(t.Context(), "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Lost > 0 {
			lost[e.Sequence] = e.Lost
		}
		if e.Sequence == 21 {
			break
		}
	}
	if len(lost) != 1 || lost[3] != 4 {
		t.Error(lost)
	}
	g := gaps{Store: s}
	var all uint64
	for _, next := range []uint64{1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21} {
		if next == 7 {
			if err := s.drop(t.Context(), allMessages, 21); err != nil {
				t.Fatal(err)
			}
		}
		n, err := g.before(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		all += n
	}
	if all != 10 {
		t.Error(all)
	}
	for e, err := range s.Events(t.Context(), "a", 6) {
		if err != nil || e.Sequence != 7 || e.Lost != 7 {
			t.Error(e.Sequence, e.Lost, err)
		}
		break
	}
}

// TestHistoryOfManyAtOnce: what comes at the same time goes to the disk together, beyond the bound as well.
func TestHistoryOfManyAtOnce(t *testing.T) {
	s := openInternal(t, t.TempDir())
	const devices, outcomes = 20, 5
	var wg sync.WaitGroup
	for i := range devices {
		device := fmt.Sprint("d", i)
		newDevice(t, s, device)
		for n := range maxOutcomes - outcomes/2 { // filled without waiting for the log
			if _, err := s.js.PublishAsync(history(device), []byte(`[]`)); err != nil {
				t.Fatal(n, err)
			}
		}
	}
	<-s.js.PublishAsyncComplete()
	for i := range devices {
		wg.Go(func() {
			for n := range outcomes {
				ends(t, s, fmt.Sprint("d", i), fmt.Sprint("u", n))
			}
		})
	}
	wg.Wait()
	for i := range devices {
		if got, _ := remembers(t, s, fmt.Sprint("d", i)); len(got) != outcomes {
			t.Errorf("d%d has %v", i, got)
		}
	}
	info, err := s.history.Info(t.Context())
	if err != nil || info.State.Msgs != devices*maxOutcomes {
		t.Errorf("%d are kept: %v", info.State.Msgs, err)
	}
}
