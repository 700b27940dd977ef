package files

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// idle is how long a client may neither send nor take anything in a request.
const idle = time.Minute

func (s *Server) serveHTTP(ctx context.Context) error {
	srv := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	result := make(chan error, 1)
	go func() { result <- srv.Serve(s.http) }()
	select {
	case err := <-result:
		return fmt.Errorf("cannot serve packages over HTTP: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		srv.Close()
	}
	<-result
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /v2/{$}", s.greet)
	mux.HandleFunc("GET /", s.serveResource)
	const uploads = " /v2/{type}/{name}/blobs/uploads/"
	for pattern, f := range map[string]http.HandlerFunc{
		"POST" + uploads + "{$}":                         s.postUpload,
		"GET" + uploads + "{upload}":                     s.getUpload,
		"PATCH" + uploads + "{upload}":                   s.patchUpload,
		"PUT" + uploads + "{upload}":                     s.putUpload,
		"DELETE" + uploads + "{upload}":                  s.deleteUpload,
		"PUT /v2/{type}/{name}/manifests/{reference}":    s.publish,
		"DELETE /v2/{type}/{name}/manifests/{reference}": s.withdraw,
		"PUT /trust/{file}":                              s.vouch,
	} {
		mux.HandleFunc(pattern, s.publisher(f))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "no %.20s of %.200q", r.Method, r.URL.Path))
	})
	limit := newLimiter(cmp.Or(s.cfg.HTTPRate, 200), cmp.Or(s.cfg.HTTPBurst, 400))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := newPatient(w, r)
		r.Body = p
		if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && !limit.allow(from.Addr(), 1) {
			p.Header().Set("Retry-After", "1")
			s.fail(p, refuse(http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests from %s", from.Addr()))
			return
		}
		mux.ServeHTTP(p, r)
	})
}

// serveResource answers GET and HEAD, with ranges.
func (s *Server) serveResource(w http.ResponseWriter, r *http.Request) {
	res, err := s.catalog.get(strings.Split(strings.Trim(r.URL.Path, "/"), "/"), r.URL.Query())
	if err != nil {
		s.fail(w, err)
		return
	}
	defer res.Close()
	if res.size == 0 && strings.HasPrefix(r.URL.Path, "/check/") {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/trust/") {
		w.Header().Set("Cache-Control", "no-cache") // what is between must not freeze it
	}
	for name, value := range res.headers {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Type", res.media)
	w.Header().Set("Docker-Content-Digest", res.digest)
	w.Header().Set("ETag", `"`+res.digest+`"`)
	http.ServeContent(w, r, "", time.Time{}, res.ReadSeeker)
}

// publish takes a manifest; with it the package is there for all. One that refers
// to a package says something about it.
func (s *Server) publish(w http.ResponseWriter, r *http.Request) {
	component, err := componentOf(r)
	var manifest []byte
	if err == nil {
		manifest, err = readManifest(r.Body)
	}
	var digest string
	if err == nil {
		reference := r.PathValue("reference")
		err = s.cfg.Audit(r, "package.publish", component+":"+reference, func() (err error) {
			digest, err = s.take(w, component, reference, manifest)
			return err
		})
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	created(w, "/v2/"+component+"/manifests/"+digest, digest)
}

func readManifest(body io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, pack.MaxManifestSize+1))
	switch {
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "MANIFEST_INVALID", "upload broke off: %w", err)
	case len(b) > pack.MaxManifestSize:
		return nil, refuse(http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "the manifest has more than %d bytes", pack.MaxManifestSize)
	}
	return b, nil
}

// take returns the digest of what it has taken.
func (s *Server) take(w http.ResponseWriter, component, reference string, manifest []byte) (string, error) {
	if pack.IsPackage(manifest) {
		p, err := s.catalog.add(component, reference, manifest)
		if err != nil {
			return "", err
		}
		return p.Digest, nil
	}
	r, err := s.catalog.attach(component, reference, manifest)
	if err != nil {
		return "", err
	}
	w.Header().Set("OCI-Subject", r.Subject.Digest)
	return r.Digest, nil
}

// withdraw deletes a package. That it was signed for, or installed, does not change.
func (s *Server) withdraw(w http.ResponseWriter, r *http.Request) {
	component, err := componentOf(r)
	if err == nil {
		reference := r.PathValue("reference")
		err = s.cfg.Audit(r, "package.withdraw", component+":"+reference, func() error { return s.catalog.delete(component, reference) })
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func componentOf(r *http.Request) (string, error) {
	component := r.PathValue("type") + "/" + r.PathValue("name")
	if err := pack.CheckComponent(component); err != nil {
		return "", refuse(http.StatusBadRequest, "NAME_INVALID", "%w", err)
	}
	return component, nil
}

func created(w http.ResponseWriter, location, digest string) {
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

// fail answers as the OCI distribution specification says. What is not for the
// client goes to the log.
func (s *Server) fail(w http.ResponseWriter, err error) {
	var r *refusal
	if !errors.As(err, &r) {
		s.cfg.Log.Error("request failed", "err", err)
		r = &refusal{http.StatusInternalServerError, "UNKNOWN", errors.New("internal error, see the server's log")}
	}
	type detail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, _ := json.Marshal(map[string][]detail{"errors": {{r.code, r.Error()}}}) // strings always marshal
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.status)
	w.Write(body)
}

// A patient is both ends of a request. It waits for a slow client as long as
// something moves, and not for one that stands still.
type patient struct {
	http.ResponseWriter
	body io.ReadCloser
	rc   *http.ResponseController
}

func newPatient(w http.ResponseWriter, r *http.Request) *patient {
	p := &patient{ResponseWriter: w, body: r.Body, rc: http.NewResponseController(w)}
	p.rc.SetWriteDeadline(time.Now().Add(idle))
	return p
}

func (p *patient) Write(b []byte) (int, error) {
	p.rc.SetWriteDeadline(time.Now().Add(idle))
	return p.ResponseWriter.Write(b)
}

func (p *patient) Read(b []byte) (int, error) {
	p.rc.SetReadDeadline(time.Now().Add(idle))
	return p.body.Read(b)
}

func (p *patient) Close() error                { return p.body.Close() }
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }
