package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/store"
)

// TestFollowingEnds: who follows what happens does so no longer than he may, and who may only look takes nothing away
// from others.
func TestFollowingEnds(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	records := func(kind string) accounts.Records {
		r, err := s.Records(t.Context(), kind, 0)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	journal, err := s.Journal(t.Context(), "audit")
	if err != nil {
		t.Fatal(err)
	}
	ledger := audit.New(journal, log)
	people := accounts.New(accounts.Config{Users: records("users"), Tokens: records("tokens"), Sessions: records("sessions"), Ledger: ledger, Log: log})
	ctx := audit.By(t.Context(), audit.Actor{Who: "test"})
	if err := people.AddUser(ctx, "ann", "correct horse battery", accounts.Viewer); err != nil {
		t.Fatal(err)
	}
	ann := accounts.Identity{User: "ann", Rights: accounts.Viewer.Rights()}
	following := make(chan struct{}, 1)
	a := &API{
		Accounts: people, Audit: ledger, Log: log, Verify: time.Millisecond,
		Hub: func(string) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				following <- struct{}{}
				<-r.Context().Done()
			})
		},
	}
	for _, path := range []string{Base + "/events", Base + "/hub/api/v1/events"} {
		token, text, err := people.AddToken(ctx, ann, "t", accounts.Read, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+text)
		ended := make(chan struct{})
		go func() {
			a.Handler().ServeHTTP(httptest.NewRecorder(), r)
			close(ended)
		}()
		<-following
		if err := people.RemoveToken(ctx, ann, token.ID); err != nil {
			t.Fatal(err)
		}
		<-ended
	}
	_, text, err := people.AddToken(ctx, ann, "t", accounts.Read, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for range streamsOfOne {
		if _, ok := a.streams.Take("ann", streamsOfOne, maxStreams); !ok {
			t.Fatal("a stream that has ended takes a place")
		}
	}
	for _, path := range []string{Base + "/events", Base + "/hub/api/v1/events"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+text)
		w := httptest.NewRecorder()
		a.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusTooManyRequests || !strings.Contains(w.Body.String(), "end some") {
			t.Errorf("%s: one more stream: %d %s", path, w.Code, w.Body)
		}
	}
	r := httptest.NewRequest(http.MethodGet, Base+"/hub/messages/serviceBound/feedback", nil)
	r.Header.Set("Authorization", "Bearer "+text)
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("a viewer takes feedback: %d", w.Code)
	}
}
