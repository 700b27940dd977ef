package component

import (
	"context"
	"fmt"
	"net/http"
	"sync"
)

// A Gate brings an application to rest: it counts what is under way, lets
// nothing new begin once it is closed, and waits for the rest. Its methods fit
// into a [Handler]:
//
//	var gate component.Gate
//	go http.Serve(listener, gate.Wrap(requests))
//	component.Serve(ctx, component.Handler{Quiesce: gate.Quiesce, Resume: gate.Resume})
//
// The zero Gate is open.
type Gate struct {
	mu     sync.Mutex
	closed bool
	inside int
	empty  chan struct{} // closed when the last has left; nil while nobody waits
}

// Enter begins a transaction, or a request; call leave, once, at its end. It
// reports false, and nil, while the gate is closed.
func (g *Gate) Enter() (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, false
	}
	g.inside++
	return sync.OnceFunc(g.leave), true
}

func (g *Gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// Quiesce closes the gate, and returns when everybody has left. If ctx ends
// before, the gate stays closed: the application is about to be stopped.
func (g *Gate) Quiesce(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	if g.inside == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.empty == nil {
		g.empty = make(chan struct{})
	}
	empty := g.empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		return fmt.Errorf("%d transactions have not ended: %w", g.inside, ctx.Err())
	}
}

// Resume opens the gate again.
func (g *Gate) Resume(context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = false
	return nil
}

// Wrap has HTTP requests pass the gate; while it is closed they are answered
// with 503 and Retry-After.
func (g *Gate) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leave, ok := g.Enter()
		if !ok {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "about to be updated", http.StatusServiceUnavailable)
			return
		}
		defer leave()
		h.ServeHTTP(w, r)
	})
}
