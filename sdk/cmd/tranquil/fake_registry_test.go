package main

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// fakeRegistry has the packages of application/greeter, as the file server and
// other registries do, as far as the tool asks.
type fakeRegistry struct {
	record func(r *http.Request, body string)

	mu        sync.Mutex
	blobs     map[string][]byte // by digest, manifests too
	tags      []string
	named     map[string]string   // digests by tag
	referrers map[string][]string // digests by that of the subject
}

func newFakeRegistry(record func(*http.Request, string)) http.Handler {
	f := &fakeRegistry{record: record, blobs: map[string][]byte{}, named: map[string]string{}, referrers: map[string][]string{}}
	mux := http.NewServeMux()
	const at = " /v2/application/greeter/"
	mux.HandleFunc("GET"+at+"blobs/{digest}", f.blob)
	mux.HandleFunc("POST"+at+"blobs/uploads/", publishing(f.begin))
	mux.HandleFunc("PUT"+at+"blobs/uploads/1", publishing(f.upload))
	mux.HandleFunc("GET"+at+"manifests/{reference}", f.manifest)
	mux.HandleFunc("PUT"+at+"manifests/{reference}", publishing(f.publish))
	mux.HandleFunc("GET"+at+"tags/list", f.list)
	mux.HandleFunc("GET"+at+"referrers/{digest}", f.about)
	return mux
}

// publishing lets only those through who have the token.
func publishing(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		if r.Header.Get("Authorization") != "Bearer "+fakeToken && password != fakeToken {
			w.Header().Set("WWW-Authenticate", `Basic realm="packages"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

func (f *fakeRegistry) blob(w http.ResponseWriter, r *http.Request) {
	f.send(w, r.PathValue("digest"), "application/octet-stream")
}

func (f *fakeRegistry) send(w http.ResponseWriter, digest, media string) {
	f.mu.Lock()
	b, ok := f.blobs[digest]
	f.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b)
}

func (f *fakeRegistry) begin(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", "/v2/application/greeter/blobs/uploads/1")
	w.WriteHeader(http.StatusAccepted)
}

func (f *fakeRegistry) upload(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	digest := r.URL.Query().Get("digest")
	if err != nil || pack.DigestOf(b) != digest {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	f.record(r, digest)
	f.mu.Lock()
	f.blobs[digest] = b
	f.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
}

func (f *fakeRegistry) manifest(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	digest, ok := f.named[r.PathValue("reference")]
	f.mu.Unlock()
	if !ok {
		digest = r.PathValue("reference")
	}
	f.send(w, digest, pack.MediaTypeManifest)
}

func (f *fakeRegistry) publish(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	digest, reference := pack.DigestOf(b), r.PathValue("reference")
	f.record(r, digest)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[digest] = b
	if said, err := pack.ParseReferrer(b); err == nil {
		f.referrers[said.Subject.Digest] = append(f.referrers[said.Subject.Digest], digest)
		w.Header().Set("OCI-Subject", said.Subject.Digest)
	} else if f.named[reference] = digest; true {
		f.tags = append(f.tags, reference)
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

func (f *fakeRegistry) list(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.tags) == 0 {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	io.WriteString(w, `{"name":"application/greeter","tags":["latest","`+strings.Join(f.tags, `","`)+`"]}`)
}

func (f *fakeRegistry) about(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, digest := range f.referrers[r.PathValue("digest")] {
		all = append(all, `{"mediaType":"`+pack.MediaTypeManifest+`","digest":"`+digest+`","size":`+strconv.Itoa(len(f.blobs[digest]))+`}`)
	}
	w.Header().Set("Content-Type", pack.MediaTypeIndex)
	io.WriteString(w, `{"schemaVersion":2,"mediaType":"`+pack.MediaTypeIndex+`","manifests":[`+strings.Join(all, ",")+`]}`)
}
