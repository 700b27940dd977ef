package link

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves in a directory with a path short enough for sockets.
func start(t *testing.T, c Config) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "link")
	if err != nil {
		t.Fatal(err)
	}
	c.Link, c.Control = filepath.Join(dir, "link"), filepath.Join(dir, "control")
	c.Log = slog.New(slog.DiscardHandler)
	s := New(c)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	deadline := time.Now().Add(10 * time.Second)
	for _, path := range []string{c.Link, c.Control} {
		for {
			if conn, err := net.Dial("unix", path); err == nil {
				conn.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the sockets do not open")
			}
			time.Sleep(time.Millisecond)
		}
	}
	return s
}

func over(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) },
	}}
}

func TestReadings(t *testing.T) {
	var got component.Reading
	s := start(t, Config{Publish: func(r component.Reading) error {
		switch got = r; r.Object {
		case 0:
			return errors.New("no such object")
		case 1:
			return fmt.Errorf("%w: it is away", ErrLater)
		}
		return nil
	}})
	for body, want := range map[string]int{
		`{"component":"application/a","object":3303,"value":21.5}`: 204,
		`{"component":"application/a","object":0}`:                 422,
		`{"component":"application/a","object":1}`:                 503,
		`{"component":`:          400,
		strings.Repeat("x", 1e5): 400,
		`{"component":"application/a","object":3303,"value":21.5,"unit":"` + strings.Repeat("x", 64) + `"}`: 204,
		`{"component":"application/a","object":3303,"value":21.5,"unit":"` + strings.Repeat("x", 65) + `"}`: 400,
	} {
		request, _ := http.NewRequest(http.MethodPut, "http://agent/v1/readings", bytes.NewBufferString(body))
		answer, err := over(s.Link).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%.40s: status %d, want %d", body, answer.StatusCode, want)
		}
		if want == 204 && got.Value != 21.5 {
			t.Errorf("got %+v", got)
		}
	}
}

func TestStatusAndWhoMayAsk(t *testing.T) {
	s := start(t, Config{Views: func() []engine.View { return []engine.View{{Component: "application/a"}} }})
	views, err := Status(t.Context(), s.Control)
	if err != nil || len(views) != 1 || views[0].Component != "application/a" {
		t.Fatalf("%+v, %v", views, err)
	}
	if info, err := os.Stat(s.Control); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket must be the agent's own: %v, %v", info.Mode(), err)
	}
	if _, err := Status(t.Context(), s.Control+"-not-there"); err == nil {
		t.Error("no error without an agent")
	}
}

func TestRepair(t *testing.T) {
	broken := errors.New("the disk takes nothing")
	s := start(t, Config{Repair: func(context.Context) error { return broken }})
	if err := Repair(t.Context(), s.Control); err == nil || err.Error() != broken.Error() {
		t.Errorf("%v", err)
	}
	broken = nil
	if err := Repair(t.Context(), s.Control); err != nil {
		t.Error(err)
	}
}

func TestEvents(t *testing.T) {
	s := start(t, Config{Views: func() []engine.View { return []engine.View{{Component: "application/first"}} }})
	answer, err := over(s.Link).Get("http://agent/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for _, want := range []string{"application/first", "application/second"} {
		for lines.Scan() && lines.Text() == "" {
		}
		if !strings.Contains(lines.Text(), want) {
			t.Fatalf("%q does not hold %s", lines.Text(), want)
		}
		s.Tell(engine.View{Component: "application/second"})
	}
}

// dependence is a registry with one notice.
type dependence struct{ answers []component.Answer }

func (d *dependence) Subscribe(p pack.Dependant) (<-chan component.Notice, func(), error) {
	if p.Policy != pack.PolicyDefer || p.Component != "reader" || p.Of != "application/a" {
		return nil, nil, fmt.Errorf("%+v", p)
	}
	notices := make(chan component.Notice, 2)
	notices <- component.Notice{Of: p.Of, State: component.Asking, Update: "u"}
	notices <- component.Notice{Of: p.Of, State: component.Leaving, Update: "u"}
	return notices, func() {}, nil
}

func (d *dependence) Ready(a component.Answer) { d.answers = append(d.answers, a) }

func (d *dependence) Defer(a component.Answer) (time.Time, error) {
	d.answers = append(d.answers, a)
	return time.Time{}, nil
}

// TestDependence joins both ends: what a program answers by sdk/component
// arrives.
func TestDependence(t *testing.T) {
	d := &dependence{}
	s := start(t, Config{Dependants: d})
	t.Setenv(component.EnvLink, s.Link)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := component.Depend(ctx, component.Dependence{
		Of: "application/a", Name: "reader", Policy: "defer",
		Asked:   func(context.Context, component.Notice) (time.Duration, string) { return time.Minute, "busy" },
		Changed: func(context.Context, component.Notice) { time.AfterFunc(100*time.Millisecond, cancel) },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []component.Answer{
		{Name: "reader", Of: "application/a", Update: "u", For: "1m0s", Reason: "busy"},
		{Name: "reader", Of: "application/a", Update: "u"},
	}
	if !slices.Equal(d.answers, want) {
		t.Errorf("%+v", d.answers)
	}
	if err := component.Depend(t.Context(), component.Dependence{Of: "application/b", Name: "reader"}); err == nil {
		t.Error("a refused dependence goes on")
	}
}
