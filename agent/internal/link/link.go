// Package link is the agent's local side: what runs on the device talks to it
// over unix sockets.
//
// Components use the link socket: they publish readings there and hear, as
// dependants of other components, where updates are. Operators use the
// control socket, which only the agent's own user can open, for the status.
// Both speak HTTP:
//
//	link     PUT /v1/readings  {"component","object","instance","value","unit","time"}, the
//	                           unit of at most 64 bytes;
//	                           503: the component is being updated, send it again later
//	         GET /v1/events    server-sent events, one engine.View each
//	         GET /v1/dependence?of=…&name=…&policy=…
//	                           server-sent events, one component.Notice each
//	         POST /v1/ready    component.Answer
//	         POST /v1/defer    component.Answer; 409 with the reason if it is too late
//	control  GET /v1/status    [engine.View, …]
//	         GET /v1/agent     Agent
//	         GET /v1/history   [engine.Outcome, …], the oldest first
//	         GET /v1/logs      [line, …]
//	         GET /v1/metrics   text, for Prometheus
//	         POST /v1/restart  has the agent read its configuration anew, and begin anew
//	         POST /v1/consent/{component}, /v1/refuse/{component}, /v1/cancel/{component}
//	                           is said to its update; 409 with the reason if it cannot
//	         POST /v1/repair   ends safe mode; 409 with the reason if it cannot
//	         POST /v1/repair/{type}/{name}/{state}              begins a repair: its id
//	         GET  /v1/state/{type}/{name}                       saved states
//	         GET  /v1/state/{type}/{name}/{generation}[/tar]    one of them
//	         POST /v1/state/{type}/{name}/{generation}/restore  begins an update: its id
//	         POST /v1/state/{type}/{name}/import?schema=…       a tar archive: its generation
//	         POST /v1/rollback/{type}/{name}?losing=…           begins an update: its id
//	         POST /v1/sideload/{type}/{name}                    what package sideload writes; begins an update: its id
package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/component"
)

// Config says where the sockets are and what is behind them.
type Config struct {
	Link    string                        // path of the components' socket
	Control string                        // path of the operators' socket
	Publish func(component.Reading) error // ErrLater: not now
	Views   func() []engine.View
	Agent   func() Agent
	History func() ([]engine.Outcome, error)
	Logs    func() []string
	Metrics func(io.Writer) error
	Restart func()
	Repair  func(context.Context) error // ends safe mode
	// Dependants takes who depends on a component while it runs.
	Dependants Dependants
	Consent    func(component string, yes bool) error
	Cancel     func(component string) error
	Mend       func(component string, c engine.Choice) (update string, err error)
	States     States
	Import     func(ctx context.Context, component string, archive io.Reader, schema int, outside, privileged bool) (generation uint64, err error)
	Sideload   func(ctx context.Context, component string, load io.Reader) (update string, err error)
	Log        *slog.Logger
}

// ErrLater refuses a reading that may be sent again.
var ErrLater = errors.New("try again later")

// A Server serves both sockets.
type Server struct {
	Config
	mu        sync.Mutex
	listeners map[chan engine.View]bool
	done      chan struct{} // closed when serving ends
}

// New returns a server; [Server.Serve] opens the sockets.
func New(c Config) *Server {
	return &Server{Config: c, listeners: map[chan engine.View]bool{}, done: make(chan struct{})}
}

// maxBody bounds a request, in bytes.
const maxBody = 64 << 10

// maxUnit bounds the unit of a reading, in bytes: long ones would leave no room
// in the device's twin for anything else. Units of RFC 8428 have a few.
const maxUnit = 64

// Serve opens the sockets and serves until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	link := http.NewServeMux()
	link.HandleFunc("PUT /v1/readings", s.readings)
	link.HandleFunc("GET /v1/events", s.events)
	link.HandleFunc("GET "+component.PathDependence, s.dependence)
	link.HandleFunc("POST "+component.PathReady, s.ready)
	link.HandleFunc("POST "+component.PathDefer, s.deferred)
	control := http.NewServeMux()
	control.HandleFunc("GET /v1/status", s.status)
	control.HandleFunc("GET /v1/agent", s.answer(func(*http.Request) (any, error) { return s.Agent(), nil }))
	control.HandleFunc("GET /v1/history", s.answer(func(*http.Request) (any, error) { return s.History() }))
	control.HandleFunc("GET /v1/logs", s.answer(func(*http.Request) (any, error) { return s.Logs(), nil }))
	control.HandleFunc("GET /v1/metrics", s.metrics)
	control.HandleFunc("POST /v1/restart", s.answer(func(*http.Request) (any, error) {
		s.Restart()
		return nil, nil
	}))
	control.HandleFunc("POST /v1/repair", s.repair)
	for what, f := range map[string]func(component string) error{
		Consent: func(component string) error { return s.Consent(component, true) },
		Refuse:  func(component string) error { return s.Consent(component, false) },
		Cancel:  func(component string) error { return s.Cancel(component) },
	} {
		control.HandleFunc("POST /v1/"+what+"/{type}/{name}", s.answer(func(r *http.Request) (any, error) {
			return nil, f(r.PathValue("type") + "/" + r.PathValue("name"))
		}))
	}
	control.HandleFunc("POST /v1/repair/{type}/{name}/{state}", s.answer(func(r *http.Request) (any, error) {
		choice, err := engine.ParseChoice(r.PathValue("state"))
		if err != nil {
			return nil, err
		}
		return s.Mend(r.PathValue("type")+"/"+r.PathValue("name"), choice)
	}))
	control.HandleFunc("POST /v1/sideload/{type}/{name}", s.answer(func(r *http.Request) (any, error) {
		return s.Sideload(r.Context(), r.PathValue("type")+"/"+r.PathValue("name"), r.Body)
	}))
	s.handleStates(control)

	servers := map[string]*http.Server{
		s.Link:    {Handler: link, ReadHeaderTimeout: 5 * time.Second},
		s.Control: {Handler: control, ReadHeaderTimeout: 5 * time.Second},
	}
	modes := map[string]os.FileMode{s.Link: 0o666, s.Control: 0o600}
	failed := make(chan error, len(servers))
	for path, server := range servers {
		listener, err := listen(path, modes[path])
		if err != nil {
			return err
		}
		go func() { failed <- server.Serve(listener) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	close(s.done)
	for _, server := range servers {
		server.Close()
	}
	return err
}

// listen opens a unix socket, in place of one that an earlier agent left.
func listen(path string, mode os.FileMode) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make directory for socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return &crowd{Listener: l, of: map[uint32]int{}}, os.Chmod(path, mode)
}

func (s *Server) readings(w http.ResponseWriter, r *http.Request) {
	var reading component.Reading
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&reading); err != nil {
		http.Error(w, "malformed reading: "+err.Error(), http.StatusBadRequest)
		return
	}
	if len(reading.Unit) > maxUnit {
		http.Error(w, fmt.Sprintf("malformed reading: its unit has %d bytes, more than %d", len(reading.Unit), maxUnit), http.StatusBadRequest)
		return
	}
	if err := s.Publish(reading); errors.Is(err, ErrLater) {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	} else if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	if err := s.Metrics(w); err != nil {
		s.Log.Warn("cannot answer an operator", "error", err)
	}
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(s.Views()); err != nil {
		s.Log.Warn("cannot answer an operator", "error", err)
	}
}

// Tell sends a view to all who listen. One who does not keep up misses the
// oldest.
func (s *Server) Tell(v engine.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.listeners {
		for sent := false; !sent; {
			select {
			case c <- v:
				sent = true
			default:
				select {
				case <-c:
				default: // it was read meanwhile
				}
			}
		}
	}
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	views := make(chan engine.View, 64)
	s.mu.Lock()
	s.listeners[views] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, views)
		s.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	for _, v := range s.Views() {
		if err := send(w, out, v); err != nil {
			return
		}
	}
	for {
		select {
		case v := <-views:
			if err := send(w, out, v); err != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-s.done:
			return
		}
	}
}

func send(w http.ResponseWriter, out *http.ResponseController, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "data: %s\n\n", b); err != nil {
		return err
	}
	return out.Flush()
}

func (s *Server) repair(w http.ResponseWriter, r *http.Request) {
	if err := s.Repair(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
