package component

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestGate: requests that have begun end, no other begins, and all goes on
// after Resume.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		h := g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) }))
		ask := func() int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			return w.Code
		}
		if err := g.Quiesce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := g.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		codes := make(chan int, 1)
		go func() { codes <- ask() }()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := g.Quiesce(short); err == nil {
			t.Error("at rest though a request is under way")
		}
		if code := ask(); code != http.StatusServiceUnavailable {
			t.Errorf("a new request: %d", code)
		}
		begin := time.Now()
		if err := g.Quiesce(t.Context()); err != nil || time.Since(begin) != time.Second/2 {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
		if code := <-codes; code != http.StatusOK {
			t.Errorf("the request that was under way: %d", code)
		}
		_ = g.Resume(t.Context())
		if code := ask(); code != http.StatusOK {
			t.Errorf("after it goes on: %d", code)
		}
	})
}

// TestGateUnderLoad: nobody is inside when Quiesce returns.
func TestGateUnderLoad(t *testing.T) {
	var g Gate
	var inside atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for ctx.Err() == nil {
				if leave, ok := g.Enter(); ok {
					inside.Add(1)
					inside.Add(-1)
					leave()
					leave() // twice is once
				}
			}
		})
	}
	for range 200 {
		if err := g.Quiesce(t.Context()); err != nil || inside.Load() != 0 {
			t.Errorf("%d inside, %v", inside.Load(), err)
		}
		_ = g.Resume(t.Context())
	}
	cancel()
	workers.Wait()
}
