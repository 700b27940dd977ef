package files

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
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
	ok := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /v2/{$}", ok)
	mux.HandleFunc("GET /", s.serveResource)
	mux.HandleFunc("POST /v2/{type}/{name}/blobs/uploads/{$}", s.publisher(s.beginUpload))
	mux.HandleFunc("PUT /v2/{type}/{name}/blobs/uploads/{upload}", s.publisher(s.upload))
	mux.HandleFunc("PUT /v2/{type}/{name}/manifests/{reference}", s.publisher(s.publish))
	mux.HandleFunc("PUT /trust/{file}", s.publisher(s.vouch))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := newPatient(w, r)
		r.Body = p
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
	w.Header().Set("Content-Type", res.media)
	w.Header().Set("Docker-Content-Digest", res.digest)
	w.Header().Set("ETag", `"`+res.digest+`"`)
	http.ServeContent(w, r, "", time.Time{}, res.ReadSeeker)
}

// publisher lets only the bearer of the publisher's token through.
func (s *Server) publisher(next http.HandlerFunc) http.HandlerFunc {
	want := sha256.Sum256([]byte(s.cfg.Token))
	return func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token)) // hashed, so that lengths do not show
		if !ok || s.cfg.Token == "" || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			w.Header().Set("WWW-Authenticate", challenge(r))
			s.fail(w, refuse(http.StatusUnauthorized, "UNAUTHORIZED", "pushing packages needs the publisher's token"))
			return
		}
		next(w, r)
	}
}

// challenge asks for a token. Registry clients want a URL as realm, though this
// server hands out no tokens.
func challenge(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return fmt.Sprintf("Bearer realm=%q,service=\"files\"", scheme+"://"+r.Host+"/v2/")
}

// beginUpload names the place to PUT a blob to. Nothing is kept for it.
func (s *Server) beginUpload(w http.ResponseWriter, r *http.Request) {
	component, err := componentOf(r)
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Location", "/v2/"+component+"/blobs/uploads/"+rand.Text())
	w.WriteHeader(http.StatusAccepted)
}

// upload takes a whole blob.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	component, err := componentOf(r)
	digest := r.URL.Query().Get("digest")
	if e := pack.CheckDigest(digest); err == nil && e != nil {
		err = refuse(http.StatusBadRequest, "DIGEST_INVALID", "%w", e)
	}
	if err == nil {
		err = s.catalog.ingest(digest, r.Body)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	created(w, "/v2/"+component+"/blobs/"+digest, digest)
}

// publish takes a manifest; with it the package is there for all.
func (s *Server) publish(w http.ResponseWriter, r *http.Request) {
	manifest, err := io.ReadAll(io.LimitReader(r.Body, pack.MaxManifestSize+1))
	if err != nil {
		s.fail(w, refuse(http.StatusBadRequest, "MANIFEST_INVALID", "upload broke off: %w", err))
		return
	}
	component, err := componentOf(r)
	var p *pack.Package
	if err == nil {
		p, err = s.catalog.add(component, r.PathValue("reference"), manifest)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	created(w, "/v2/"+component+"/manifests/"+p.Digest, p.Digest)
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
