package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/store"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/backend/internal/webhook"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

const patience = 2 * time.Minute

// A server takes events, or answers what it is told to.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	secret string
	status map[string]int // by the device of an event; 0: 204
	got    []string       // "device id"
	lost   []uint64       // before each of them
	wrong  []error
}

func serve(t *testing.T) *server {
	s := &server{status: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		var event iothub.Event
		if err := errors.Join(err, iothub.VerifyWebhook(r.Header, s.secret, body, time.Now()), json.Unmarshal(body, &event)); err != nil {
			s.wrong = append(s.wrong, err)
		}
		device := event.Device
		if id := device + " " + r.Header.Get(iothub.WebhookID); slices.Contains(s.got, id) {
			return // once more, as may be
		}
		if status := s.status[device]; status != 0 {
			w.WriteHeader(status)
			return
		}
		s.got, s.lost = append(s.got, device+" "+r.Header.Get(iothub.WebhookID)), append(s.lost, event.Lost)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) answers(device string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status[device] = status
}

// has waits until the server has so many events, and answers them.
func (s *server) has(t *testing.T, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		got := slices.Clone(s.got)
		s.mu.Unlock()
		if len(got) >= n {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server has %v, not %d events", got, n)
		}
	}
}

// service opens webhooks on a store; run starts one more process on it.
func service(t *testing.T) (s *webhook.Service, events *store.Store, ctx context.Context, run func() (stop func())) {
	t.Helper()
	return serviceOf(t, 0)
}

// serviceOf keeps so many bytes of events.
func serviceOf(t *testing.T, bytes int64) (s *webhook.Service, events *store.Store, ctx context.Context, run func() (stop func())) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	events, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Log: log, LogBytes: bytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(events.Close)
	records := func(kind string) webhook.Records {
		r, err := events.Records(t.Context(), kind, 0)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	journal, err := events.Journal(t.Context(), "audit")
	if err != nil {
		t.Fatal(err)
	}
	s = &webhook.Service{
		Hooks: records("webhooks"), Dead: records("deadletters"), Events: events, Ledger: audit.New(journal, log), Log: log,
		Pause: func(int) time.Duration { return time.Millisecond },
	}
	run = func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		stop = sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(stop)
		return stop
	}
	return s, events, audit.By(t.Context(), audit.Actor{Who: "test"}), run
}

func happen(t *testing.T, events *store.Store, kind string, devices ...string) {
	t.Helper()
	for _, device := range devices {
		if err := events.Append(t.Context(), twin.Event{Type: kind, Device: device, Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDelivery: a server is told everything in order, signed, also what it refused at first, and what has happened while
// nobody sent; and what it does not take at all becomes a dead letter that can be sent again.
func TestDelivery(t *testing.T) {
	t.Parallel()
	s, events, ctx, run := service(t)
	server := serve(t)
	happen(t, events, twin.Created, "before")
	hook, secret, err := s.Add(ctx, server.URL, []string{twin.Telemetry}, "")
	if err != nil {
		t.Fatal(err)
	}
	server.secret = secret
	happen(t, events, twin.Created, "unwanted")
	happen(t, events, twin.Telemetry, "a", "b", "a")
	stop := run()
	first := server.has(t, 3)
	stop()
	happen(t, events, twin.Telemetry, "c", "gone", "d")
	server.answers("gone", http.StatusNotFound)
	server.answers("d", http.StatusServiceUnavailable)
	stop = run()
	server.has(t, 4)
	server.answers("d", 0)
	got := server.has(t, 5)
	if devices := devicesOf(got); !slices.Equal(devices, []string{"a", "b", "a", "c", "d"}) || !slices.Equal(got[:3], first) {
		t.Error(got)
	}
	letters := deadLetters(t, ctx, s, hook.ID, 1)
	if letters[0].Event.Device != "gone" || !strings.Contains(letters[0].Problem, "404") {
		t.Errorf("%+v", letters)
	}
	if err := s.Resend(ctx, hook.ID, letters[0].Event.ID); err == nil {
		t.Error("it is taken now")
	}
	deadLetters(t, ctx, s, hook.ID, 1)
	server.answers("gone", 0)
	if err := s.Resend(ctx, hook.ID, letters[0].Event.ID); err != nil {
		t.Error(err)
	}
	deadLetters(t, ctx, s, hook.ID, 0)
	server.has(t, 6)
	if err := s.Remove(ctx, hook.ID); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, hook.ID); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	stop()
	if server.wrong != nil {
		t.Error(server.wrong)
	}
}

// TestLost: what the hub has dropped while nobody could send is missing, and the server hears of it.
func TestLost(t *testing.T) {
	t.Parallel()
	s, events, ctx, run := serviceOf(t, 64<<10)
	server := serve(t)
	_, secret, err := s.Add(ctx, server.URL, []string{twin.Created}, "")
	if err != nil {
		t.Fatal(err)
	}
	server.secret = secret
	happen(t, events, twin.Telemetry, slices.Repeat([]string{"flood"}, 1000)...)
	happen(t, events, twin.Created, "a", "b")
	run()
	server.has(t, 2)
	if server.lost[0] < 100 || server.lost[1] != 0 {
		t.Error(server.lost)
	}
}

func devicesOf(got []string) (devices []string) {
	for _, event := range got {
		device, _, _ := strings.Cut(event, " ")
		devices = append(devices, device)
	}
	return devices
}

func deadLetters(t *testing.T, ctx context.Context, s *webhook.Service, hook string, n int) []webhook.DeadLetter {
	t.Helper()
	letters, err := s.DeadLetters(ctx, hook)
	if err != nil || len(letters) != n {
		t.Fatalf("%+v %v, want %d", letters, err, n)
	}
	return letters
}

// TestTries: a server that fails is asked ten times, and what comes next is told all the same.
func TestTries(t *testing.T) {
	t.Parallel()
	s, events, ctx, run := service(t)
	server := serve(t)
	hook, secret, err := s.Add(ctx, server.URL, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	server.secret = secret
	server.answers("bad", http.StatusInternalServerError)
	happen(t, events, twin.Telemetry, "bad", "good")
	run()
	if got := server.has(t, 1); devicesOf(got)[0] != "good" {
		t.Error(got)
	}
	deadLetters(t, ctx, s, hook.ID, 1)
}

// TestOneSends: of two processes on a store one sends for a hook, and when it ends, the other goes on.
func TestOneSends(t *testing.T) {
	t.Parallel()
	s, events, ctx, run := service(t)
	server := serve(t)
	_, secret, err := s.Add(ctx, server.URL, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	server.secret = secret
	stop := run()
	happen(t, events, twin.Telemetry, "a")
	server.has(t, 1)
	run()
	happen(t, events, twin.Telemetry, "b", "c")
	server.has(t, 3)
	stop()
	happen(t, events, twin.Telemetry, "d")
	got := devicesOf(server.has(t, 4))
	if !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Error(got)
	}
}

// TestRefused: where a secret could be read by others, or that is no address, nothing is sent.
func TestRefused(t *testing.T) {
	t.Parallel()
	s, _, ctx, _ := service(t)
	for _, address := range []string{"", "example.org", "http://example.org/", "ftp://example.org", "https://user:pass@example.org", "https://", "http://127.0.0.1.example.org"} {
		if _, _, err := s.Add(ctx, address, nil, ""); !errors.Is(err, twin.ArgumentInvalid) {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, _, err := s.Add(ctx, "https://example.org", []string{"rain"}, ""); !errors.Is(err, twin.ArgumentInvalid) {
		t.Error(err)
	}
	if hooks, err := s.List(ctx); err != nil || len(hooks) != 0 {
		t.Error(fmt.Sprint(hooks), err)
	}
}
