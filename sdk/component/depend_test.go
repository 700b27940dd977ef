package component

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// An office is the agent's end of the dependence protocol.
type office struct {
	mu      sync.Mutex
	joined  int
	answers []string
	refuse  bool
}

func (o *office) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case r.URL.Path == PathDependence && o.refuse:
		http.Error(w, "no such component", http.StatusBadRequest)
	case r.URL.Path == PathDependence: // says one thing, and hangs up
		states := []string{Live, Asking, Leaving}
		fmt.Fprintf(w, ": a comment\n\ndata: {\"of\":%q,\"state\":%q,\"update\":\"u\"}\n\n", r.URL.Query().Get("of"), states[o.joined%3])
		o.joined++
	default:
		var a Answer
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			panic(err)
		}
		o.answers = append(o.answers, r.URL.Path+" "+a.Name+" "+a.Of+" "+a.Update+" "+a.For)
	}
}

// TestDepend: a dependant comes back as often as the agent hangs up, and
// answers what asks for it.
func TestDepend(t *testing.T) {
	path := socket(t)
	t.Setenv(EnvLink, path)
	t.Setenv(EnvComponent, "application/b")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{}
	server := &http.Server{Handler: o}
	done := make(chan struct{})
	go func() { server.Serve(listener); close(done) }()
	defer func() { server.Close(); <-done }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var heard []string
	err = Depend(ctx, Dependence{
		Of: "application/a", Policy: "defer",
		Changed: func(_ context.Context, n Notice) {
			heard = append(heard, n.State)
			if n.State == Leaving {
				time.AfterFunc(50*time.Millisecond, cancel)
			}
		},
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	want := []string{"/v1/defer application/b application/a u 0s", "/v1/ready application/b application/a u "}
	if err != nil || !slices.Equal(heard, []string{Live, Leaving}) || !slices.Equal(o.answers, want) {
		t.Errorf("heard %v, answered %v, %v", heard, o.answers, err)
	}
}

// TestDependRefused ends: it would be refused again.
func TestDependRefused(t *testing.T) {
	path := socket(t)
	t.Setenv(EnvLink, path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: &office{refuse: true}}
	done := make(chan struct{})
	go func() { server.Serve(listener); close(done) }()
	defer func() { server.Close(); <-done }()
	if err := Depend(t.Context(), Dependence{Of: "application/a", Name: "b"}); err == nil {
		t.Error("no error")
	}
}

// TestDependOutside waits, and so it does while the agent is away.
func TestDependOutside(t *testing.T) {
	for _, path := range []string{"", socket(t)} {
		t.Setenv(EnvLink, path)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := Depend(ctx, Dependence{Of: "application/a", Name: "b"}); err != nil || ctx.Err() == nil {
			t.Error(err)
		}
		cancel()
	}
}
