// Package api is the operator's REST interface, below /api/v1: JSON, with errors as problem details (RFC 9457). Its
// routes are one table, from which also its OpenAPI document is made.
package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/enrolment"
	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
	"github.com/tranquil-iot/tranquil/backend/internal/limit"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/backend/internal/webhook"
)

// Base is where the interface is.
const Base = "/api/v1"

// maxBody bounds what a request brings, packages aside.
const maxBody = 512 << 10

// API serves.
type API struct {
	Accounts  *accounts.Accounts
	Audit     *audit.Log
	Fleet     *fleet.Fleet
	Enrolment *enrolment.Desk
	Webhooks  *webhook.Service
	Hub       func(policy string) http.Handler // its REST interface, for whoever is let in by that policy
	Log       *slog.Logger

	Verify time.Duration // how often it is looked whether whoever follows something still may; 0: each half minute

	streams limit.Seats[string] // by user
}

// Streams of events that are open at once: each reads the log by itself.
const (
	maxStreams   = 256
	streamsOfOne = 16
)

// A Route is one operation.
type Route struct {
	Method, Path string         // below Base
	Right        accounts.Right // that it needs; 0: none, it is open to anybody
	Summary      string
	query        []parameter
	operation
}

// An operation is what a route does: what it takes and answers as JSON, nil for nothing, or in another form.
type operation struct {
	in, out           reflect.Type
	inMedia, outMedia string
	serve             func(a *API, w http.ResponseWriter, r *http.Request) error
}

// A parameter of a query.
type parameter struct{ name, about string }

// nothing is the answer of what has none.
type nothing struct{}

// get answers something.
func get[Out any](f func(*API, *http.Request) (Out, error)) operation {
	return operation{out: shape[Out](), serve: func(a *API, w http.ResponseWriter, r *http.Request) error {
		out, err := f(a, r)
		if err != nil {
			return err
		}
		return write(w, out)
	}}
}

// take takes something and answers something.
func take[In, Out any](f func(*API, *http.Request, In) (Out, error)) operation {
	return operation{in: shape[In](), out: shape[Out](), serve: func(a *API, w http.ResponseWriter, r *http.Request) error {
		var in In
		if err := read(r, &in); err != nil {
			return err
		}
		out, err := f(a, r, in)
		if err != nil {
			return err
		}
		return write(w, out)
	}}
}

// shape is the type of T, nil if it is nothing.
func shape[T any]() reflect.Type {
	t := reflect.TypeFor[T]()
	if t == reflect.TypeFor[nothing]() {
		return nil
	}
	return t
}

// read takes one JSON document with no field that is not known: it is most likely misspelt. Numbers in it that stand
// for anything stay as they are written.
func read(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	err := decoder.Decode(into)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return twin.TooLarge.With("the body is larger than %d bytes", maxBody)
	}
	if err != nil {
		return twin.Malformed.With("the body cannot be understood: %v", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return twin.Malformed.With("something follows the JSON document")
	}
	return nil
}

func write(w http.ResponseWriter, out any) error {
	if _, none := out.(nothing); none {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(text) // a client that is gone needs no answer
	return nil
}

// Handler serves all routes, below Base.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range Routes() {
		mux.Handle(route.Method+" "+Base+route.Path, a.serve(route))
	}
	mux.HandleFunc(Base+"/", func(w http.ResponseWriter, r *http.Request) {
		a.refuse(w, r, twin.DeviceNotFound.With("there is no %s %s: see %s/openapi.json", r.Method, r.URL.Path, Base))
	})
	return mux
}

func (a *API) serve(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if route.inMedia == "" {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		if route.Right != 0 {
			ctx, err := a.Accounts.Identify(r)
			if err == nil {
				err = accounts.Of(ctx).May(route.Right)
			}
			if err != nil {
				a.refuse(w, r, err)
				return
			}
			r = r.WithContext(ctx)
		}
		if err := route.serve(a, w, r); err != nil {
			a.refuse(w, r, err)
		}
	})
}

// follow has the hub tell what happens, for as long as whoever asks may; twin.Throttled.
func (a *API) follow(w http.ResponseWriter, r *http.Request, hub http.Handler) error {
	leave, ok := a.streams.Take(accounts.Of(r.Context()).User, streamsOfOne, maxStreams)
	if !ok {
		return twin.Throttled.With("there are too many streams of events: you may have %d, and all users together %d; end some, or ask again later", streamsOfOne, maxStreams)
	}
	defer leave()
	r, done := a.whileAllowed(r, accounts.Read)
	defer done()
	hub.ServeHTTP(w, r)
	return nil
}

// whileAllowed has a request end when whoever makes it may not any more: the token was ended, or the right taken away.
func (a *API) whileAllowed(r *http.Request, right accounts.Right) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	go func() {
		ticker := time.NewTicker(cmp.Or(a.Verify, 30*time.Second))
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			now, err := a.Accounts.Identify(r)
			if err == nil {
				err = accounts.Of(now).May(right)
			}
			if errors.Is(err, twin.Unauthorized) || errors.Is(err, twin.Forbidden) {
				cancel()
				return
			}
		}
	}()
	return r.WithContext(ctx), cancel
}

// Problem is an error (RFC 9457).
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, text := fleet.Refusal(err)
	level := slog.LevelInfo
	switch {
	case r.Context().Err() != nil, status == http.StatusTooManyRequests: // whoever asked has gone, or asks as often as he likes
		level = slog.LevelDebug
	case status >= http.StatusInternalServerError:
		level = slog.LevelError
	}
	a.Log.Log(r.Context(), level, "request is refused", "method", r.Method, "path", r.URL.Path, "from", accounts.RemoteHost(r), "status", status, "cause", err)
	w.Header().Set("Cache-Control", "no-store")
	body, _ := json.Marshal(Problem{status, http.StatusText(status), text}) // strings always marshal
	w.Header().Set("Content-Type", "application/problem+json")
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(status)
	w.Write(body)
}

// component is the one that a path names.
func component(r *http.Request) string { return r.PathValue("type") + "/" + r.PathValue("name") }

// etag is the request's If-Match without its quotes.
func etag(r *http.Request) string { return strings.Trim(r.Header.Get("If-Match"), `"`) }
