package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// A refusal is an error to tell the client, in the words of the OCI
// distribution specification.
type refusal struct {
	status int    // of HTTP
	code   string // "MANIFEST_INVALID"
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// Status is for who answers in another way than HTTP here does.
func (r *refusal) Status() int { return r.status }

func refuse(status int, code, format string, args ...any) error {
	return &refusal{status: status, code: code, err: fmt.Errorf(format, args...)}
}

// A resource is what a GET answers, the same over HTTP and CoAP.
type resource struct {
	digest string // of the content: its entity tag
	media  string // media type
	size   int64
	// headers are those of HTTP beside the usual ones; nil: none.
	headers map[string]string
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}

// get finds the resource at a path, split at its slashes. The caller closes
// it. Errors for the client are a *refusal.
func (c *catalog) get(path []string, query url.Values) (*resource, error) {
	switch {
	case len(path) == 5 && path[0] == "v2" && path[3] == "manifests":
		return c.manifest(path[1]+"/"+path[2], path[4])
	case len(path) == 5 && path[0] == "v2" && path[3] == "blobs":
		return c.blob(path[1]+"/"+path[2], path[4])
	case len(path) == 5 && path[0] == "v2" && path[3] == "tags" && path[4] == "list":
		return c.tags(path[1]+"/"+path[2], query)
	case len(path) == 5 && path[0] == "v2" && path[3] == "referrers":
		return c.referrers(path[1]+"/"+path[2], path[4], query)
	case len(path) == 2 && path[0] == "v2" && path[1] == "_catalog":
		return c.components()
	case len(path) == 4 && path[0] == "deltas":
		return c.delta(path[1]+"/"+path[2], path[3], query)
	case len(path) == 3 && path[0] == "check":
		return c.check(path[1]+"/"+path[2], query)
	case len(path) == 2 && path[0] == "packages":
		return c.named(path[1])
	case len(path) == 2 && path[0] == "trust":
		return c.trust.get(path[1])
	}
	return nil, refuse(http.StatusNotFound, "NAME_UNKNOWN", "nothing at %.200q", "/"+strings.Join(path, "/"))
}

func (c *catalog) manifest(component, reference string) (*resource, error) {
	c.mu.RLock()
	p, r := c.find(component, reference), c.referrer(component, reference)
	c.mu.RUnlock()
	if r != nil {
		return c.open(r.Digest, pack.MediaTypeManifest)
	}
	if p == nil {
		return nil, refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "no package %.80s:%.80s", component, reference)
	}
	return c.open(p.Digest, pack.MediaTypeManifest)
}

func (c *catalog) blob(component, digest string) (*resource, error) {
	if err := pack.CheckComponent(component); err != nil {
		return nil, refuse(http.StatusBadRequest, "NAME_INVALID", "%w", err)
	}
	if err := pack.CheckDigest(digest); err != nil {
		return nil, refuse(http.StatusBadRequest, "DIGEST_INVALID", "%w", err)
	}
	if res, err := c.open(digest, "application/octet-stream"); err == nil || c.upstream == nil {
		return res, err
	}
	if _, err := c.bring(component, digest); err != nil {
		return nil, err
	}
	return c.open(digest, "application/octet-stream")
}

func (c *catalog) open(digest, media string) (*resource, error) {
	f, err := os.Open(c.blobPath(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse(http.StatusNotFound, "BLOB_UNKNOWN", "no blob %s", digest)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &resource{digest: digest, media: media, size: info.Size(), ReadSeeker: f, ReaderAt: f, Closer: f}, nil
}

// components lists all repositories, as Docker's registry does.
func (c *catalog) components() (*resource, error) {
	c.mu.RLock()
	names := slices.Sorted(maps.Keys(c.versions))
	c.mu.RUnlock()
	return jsonResource(map[string][]string{"repositories": append([]string{}, names...)})
}

// tags lists versions in the order of their characters, as the OCI distribution
// spec has it; n of them after last, and where the next are.
func (c *catalog) tags(component string, query url.Values) (*resource, error) {
	c.mu.RLock()
	versions := c.versions[component]
	c.mu.RUnlock()
	if versions == nil {
		return nil, unknown(component)
	}
	list := struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{component, []string{}}
	for _, p := range versions {
		if v := p.Manifest.Version; v > query.Get("last") {
			list.Tags = append(list.Tags, v)
		}
	}
	slices.Sort(list.Tags)
	if !query.Has("n") {
		return jsonResource(list)
	}
	n, err := strconv.Atoi(query.Get("n"))
	if err != nil || n < 0 {
		return nil, refuse(http.StatusBadRequest, "UNSUPPORTED", "n=%.40q is no number of tags", query.Get("n"))
	}
	var headers map[string]string
	if n < len(list.Tags) {
		if list.Tags = list.Tags[:n]; n > 0 {
			next := url.Values{"n": {strconv.Itoa(n)}, "last": {list.Tags[n-1]}}
			headers = map[string]string{"Link": fmt.Sprintf(`</v2/%s/tags/list?%s>; rel="next"`, component, next.Encode())}
		}
	}
	res, err := jsonResource(list)
	if err == nil {
		res.headers = headers
	}
	return res, err
}

// check finds the newest package above the current version for a platform. One that the
// component's author has not signed for, or no more, is none: devices would refuse it,
// and not hear of the one before. An empty resource says that there is none.
func (c *catalog) check(component string, query url.Values) (*resource, error) {
	c.mu.RLock()
	versions := c.versions[component]
	c.mu.RUnlock()
	if versions == nil {
		return nil, unknown(component)
	}
	current := query.Get("current")
	if err := pack.CheckVersion(current); current != "" && err != nil {
		return nil, refuse(http.StatusBadRequest, "UNSUPPORTED", "%w", err)
	}
	device := pack.Platform{OS: query.Get("os"), Arch: query.Get("arch"), Variant: query.Get("variant")}
	listed, signed := c.trust.repository.Listed(component)
	for _, p := range versions {
		if pack.CompareVersions(p.Manifest.Version, current) <= 0 {
			break
		}
		if _, err := p.Artifact(device); err == nil && (!signed || slices.Contains(listed, trust.Of(p))) {
			return found(p)
		}
	}
	return bytesResource(nil)
}

func (c *catalog) named(file string) (*resource, error) {
	c.mu.RLock()
	p := c.files[file]
	c.mu.RUnlock()
	if p == nil {
		return nil, refuse(http.StatusNotFound, "NAME_UNKNOWN", "no package has the file name %.200q", file)
	}
	return found(p)
}

func unknown(component string) error {
	return refuse(http.StatusNotFound, "NAME_UNKNOWN", "no component %.200q", component)
}

// found names a package: its version, and the digest and size of its manifest.
func found(p *pack.Package) (*resource, error) {
	return jsonResource(struct {
		Version string `json:"version"`
		Digest  string `json:"digest"`
		Size    int64  `json:"size"`
	}{p.Manifest.Version, p.Digest, p.Size})
}

func jsonResource(v any) (*resource, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return bytesResource(b)
}

func bytesResource(b []byte) (*resource, error) { return mediaResource(b, "application/json") }

func mediaResource(b []byte, media string) (*resource, error) {
	r := bytes.NewReader(b)
	return &resource{
		digest: pack.DigestOf(b), media: media, size: int64(len(b)),
		ReadSeeker: r, ReaderAt: r, Closer: io.NopCloser(r),
	}, nil
}
