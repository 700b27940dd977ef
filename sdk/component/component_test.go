package component

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socket returns a path that is short enough for a unix socket.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// serving serves h as Serve does until the test ends, and returns how to ask it.
func serving(t *testing.T, h Handler) (ask func(method, path, body string) (int, string)) {
	t.Helper()
	path := socket(t)
	t.Setenv(EnvControl, path)
	if err := os.WriteFile(path, nil, 0o600); err != nil { // left by a killed process
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, h) }()
	client := unixClient(path)
	t.Cleanup(func() {
		client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	eventually(t, "listens", func() bool {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return func(method, path, body string) (int, string) {
		request, _ := http.NewRequest(method, "http://component"+path, strings.NewReader(body))
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		reason, _ := io.ReadAll(response.Body)
		return response.StatusCode, strings.TrimSpace(string(reason))
	}
}

func unixClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestServe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var got []string
	note := func(what string, err error) func(context.Context) error {
		return func(context.Context) error { got = append(got, what); return err }
	}
	noteDir := func(what string) func(context.Context, string) error {
		return func(_ context.Context, dir string) error {
			got = append(got, what+" "+filepath.Base(dir))
			_, err := os.Stat(dir)
			return err
		}
	}
	ask := serving(t, Handler{
		Quiesce: note("quiesce", nil), Resume: note("resume", nil), Health: note("health", errors.New("too hot")),
		Save: noteDir("save"), Apply: noteDir("apply"),
	})
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"dir":%q}`, dir)
	for _, test := range []struct {
		method, path, body string
		code               int
		reason             string
	}{
		{"POST", PathQuiesce, "", 204, ""},
		{"POST", PathResume, "", 204, ""},
		{"GET", PathHealth, "", 500, "too hot"},
		{"POST", PathSave, body, 204, ""},
		{"POST", PathApply, body, 204, ""},
		{"POST", PathApply, body, 500, "stat " + dir + ": no such file or directory"}, // taken over already
		{"POST", PathApply, `{"dir":"relative"}`, 400, `dir "relative" is not an absolute path`},
		{"POST", PathApply, ``, 400, "cannot read request: EOF"},
		{"GET", PathSave, "", 405, "Method Not Allowed"},
		{"GET", "/", "", 404, "404 page not found"},
	} {
		code, reason := ask(test.method, test.path, test.body)
		if code != test.code || reason != test.reason {
			t.Errorf("%s %s %s: %d %q, want %d %q", test.method, test.path, test.body, code, reason, test.code, test.reason)
		}
	}
	want := []string{"quiesce", "resume", "health", "save state", "apply state", "apply state"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := os.Stat(dir + AppliedSuffix); err != nil {
		t.Errorf("what was taken over is not marked: %v", err)
	}
}

func TestServeNothing(t *testing.T) {
	ask := serving(t, Handler{})
	for path, want := range map[string]int{PathQuiesce: 204, PathResume: 204, PathSave: 501, PathApply: 501} {
		if code, _ := ask("POST", path, `{"dir":"/x"}`); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}

func TestApplyMayMoveItsDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	apply := Handler{Apply: func(_ context.Context, dir string) error { return os.RemoveAll(dir) }}.apply()
	if err := apply(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

func TestCannotListen(t *testing.T) {
	t.Setenv(EnvControl, filepath.Join(t.TempDir(), "no", "such", "directory"))
	if err := Serve(t.Context(), Handler{}); err == nil {
		t.Error("no error")
	}
}

func TestOutside(t *testing.T) {
	for _, name := range []string{EnvComponent, EnvVersion, EnvState, EnvControl, EnvLink} {
		t.Setenv(name, "")
	}
	if got := Name() + Version() + StateDir("here"); got != "here" {
		t.Error(got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Serve(ctx, Handler{}); err != nil {
		t.Error(err)
	}
	if err := Publish(t.Context(), Reading{Value: 1}); err != nil {
		t.Error(err)
	}
	if err := Publish(t.Context(), Reading{Value: math.NaN()}); err == nil {
		t.Error("NaN was published")
	}
	if err := Publish(ctx, Reading{}); err == nil {
		t.Error("published though the context had ended")
	}
	if err := Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

// An agent is the other end of the link.
type agent struct {
	mu     sync.Mutex
	got    []float64
	answer int
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var reading Reading
	if err := json.NewDecoder(r.Body).Decode(&reading); err != nil || r.URL.Path != PathReadings || r.Method != http.MethodPut || reading.Time.IsZero() || reading.Component != "application/a" {
		panic(fmt.Sprintf("%s %s %+v: %v", r.Method, r.URL.Path, reading, err))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.answer == http.StatusOK {
		a.got = append(a.got, reading.Value)
	}
	w.WriteHeader(a.answer)
}

func (a *agent) answers(code int) (got []float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = code
	return append([]float64(nil), a.got...)
}

// listen makes the agent listen on path until stop is called.
func (a *agent) listen(t *testing.T, path string) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: a}
	done := make(chan struct{})
	go func() { server.Serve(listener); close(done) }()
	return func() { server.Close(); <-done }
}

func published(t *testing.T, l *link, values ...float64) {
	t.Helper()
	for _, v := range values {
		if err := l.publish(Reading{Object: 3303, Value: v}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPublish(t *testing.T) {
	t.Setenv(EnvComponent, "application/a")
	path := socket(t)
	l := newLink(path)
	defer l.client.CloseIdleConnections()
	a := &agent{answer: http.StatusOK}
	flush := func(want ...float64) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := l.flush(ctx); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, a.answers(http.StatusOK)); d != "" {
			t.Error(d)
		}
	}
	stop := a.listen(t, path)
	published(t, l, 1, 2, 3)
	flush(1, 2, 3)
	stop() // the agent is away
	published(t, l, 4, 5)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.flush(ctx); err == nil {
		t.Error("Flush returned nil though the agent is away")
	}
	stop = a.listen(t, path)
	flush(1, 2, 3, 4, 5)
	a.answers(http.StatusBadRequest) // it refuses: 6 is given up
	published(t, l, 6)
	if err := l.flush(context.Background()); err != nil {
		t.Error(err)
	}
	a.answers(http.StatusServiceUnavailable) // it has a problem of its own: 7 waits
	published(t, l, 7)
	a.answers(http.StatusOK)
	flush(1, 2, 3, 4, 5, 7)
	stop()
}

// TestPublishIsBounded: of too many readings the newest are kept.
func TestPublishIsBounded(t *testing.T) {
	t.Setenv(EnvComponent, "application/a")
	path := socket(t)
	l := newLink(path)
	defer l.client.CloseIdleConnections()
	for v := range 3 * bufferSize {
		published(t, l, float64(v))
	}
	a := &agent{answer: http.StatusOK}
	stop := a.listen(t, path)
	defer stop()
	if err := l.flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	got := a.answers(http.StatusOK)
	if len(got) != bufferSize || got[0] != 2*bufferSize || got[bufferSize-1] != 3*bufferSize-1 {
		t.Errorf("%d readings from %v to %v", len(got), got[0], got[len(got)-1])
	}
}

// FuzzReadDir: what is accepted is an absolute, clean path.
func FuzzReadDir(f *testing.F) {
	f.Add([]byte(`{"dir":"/a/b"}`))
	f.Add([]byte(`{"dir":"/a/../../b"}`))
	f.Add([]byte(`{"dir":5}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, body []byte) {
		dir, err := readDir(bytes.NewReader(body))
		if err == nil && (!filepath.IsAbs(dir) || filepath.Clean(dir) != dir) {
			t.Errorf("accepted %q", dir)
		}
	})
}
