package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Paths of the control protocol: HTTP/1.1 over the unix socket. 2xx is
// success; anything else carries the reason as plain text. Save and apply
// have a JSON body {"dir": "/absolute/path"}.
const (
	PathQuiesce = "/v1/quiesce" // POST
	PathResume  = "/v1/resume"  // POST
	PathSave    = "/v1/save"    // POST
	PathApply   = "/v1/apply"   // POST
	PathHealth  = "/v1/health"  // GET
)

// AppliedSuffix is added to the name of a directory whose state was taken
// over, by whoever sees it first: so no state is ever taken over twice.
const AppliedSuffix = ".applied"

// A Handler holds the application's answers to the updater. Every field may
// be nil. The functions may be called at the same time as anything else.
type Handler struct {
	// Quiesce ends open work and starts no more until Resume; it returns
	// when the application is tranquil: in no transaction it has started, and
	// with all requests answered. Readings published before it returns reach
	// the agent before the application is stopped. nil: always tranquil.
	Quiesce func(context.Context) error
	// Resume goes on after Quiesce; it may come without one.
	Resume func(context.Context) error
	// Save writes the whole state into the empty directory dir and leaves
	// the application as it is. Only for "state": "handover" in the settings.
	Save func(ctx context.Context, dir string) error
	// Apply replaces the application's state by that in dir, durably: after
	// it succeeded, dir is gone. It comes soon after the start, before which
	// the application must not assume that its state is current.
	Apply func(ctx context.Context, dir string) error
	// Health returns why the application is not well. nil: always well.
	Health func(context.Context) error
}

// Serve answers the updater until ctx ends, then returns nil. It returns an
// error only if it cannot listen. Outside of Tranquil it just waits for ctx.
func Serve(ctx context.Context, h Handler) error {
	path := os.Getenv(EnvControl)
	if path == "" {
		<-ctx.Done()
		return nil
	}
	listener, err := listen(path)
	if err != nil {
		return fmt.Errorf("cannot serve the control socket: %w", err)
	}
	return serve(ctx, listener, h)
}

// listen takes over the socket's path: a process that was killed leaves its
// socket behind, and only one process of a component runs.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return listener, os.Chmod(path, 0o600)
}

func serve(ctx context.Context, listener net.Listener, h Handler) error {
	server := &http.Server{
		Handler:           h.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err := server.Serve(listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("control socket failed: %w", err)
}

func (h Handler) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+PathQuiesce, plain(h.quiesce))
	mux.HandleFunc("POST "+PathResume, plain(h.Resume))
	mux.HandleFunc("GET "+PathHealth, plain(h.Health))
	mux.HandleFunc("POST "+PathSave, withDir(h.Save))
	mux.HandleFunc("POST "+PathApply, withDir(h.apply()))
	return mux
}

// quiesce is over when the agent has the last readings, too.
func (h Handler) quiesce(ctx context.Context) error {
	if h.Quiesce != nil {
		if err := h.Quiesce(ctx); err != nil {
			return err
		}
	}
	return Flush(ctx)
}

// apply marks the directory as taken over before it answers: if the updater
// dies now, its successor must not hand over the same state again.
func (h Handler) apply() func(context.Context, string) error {
	if h.Apply == nil {
		return nil
	}
	return func(ctx context.Context, dir string) error {
		if err := h.Apply(ctx, dir); err != nil {
			return err
		}
		err := os.Rename(dir, dir+AppliedSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the application moved it away itself
		}
		return err
	}
}

func plain(do func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var err error
		if do != nil {
			err = do(r.Context())
		}
		answer(w, err)
	}
}

func withDir(do func(context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if do == nil {
			http.Error(w, "the application does not hand over state", http.StatusNotImplemented)
			return
		}
		dir, err := readDir(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, do(r.Context(), dir))
	}
}

// readDir decodes the body of save and apply.
func readDir(body io.Reader) (string, error) {
	var request struct{ Dir string }
	if err := json.NewDecoder(body).Decode(&request); err != nil {
		return "", fmt.Errorf("cannot read request: %w", err)
	}
	if !filepath.IsAbs(request.Dir) {
		return "", fmt.Errorf("dir %q is not an absolute path", request.Dir)
	}
	return filepath.Clean(request.Dir), nil
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
