package files

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// as asks something as the publisher.
func as(t *testing.T, method string, s *Server, path, body string, header ...string) (*http.Response, []byte) {
	t.Helper()
	return do(t, method, s, path, strings.NewReader(body), append(header, "Authorization", "Bearer "+token)...)
}

// beginUpload begins an upload, and returns where it goes on.
func beginUpload(t *testing.T, s *Server) string {
	t.Helper()
	resp, _ := as(t, http.MethodPost, s, "/v2/"+component+"/blobs/uploads/", "")
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Range") != "0-0" {
		t.Fatalf("begin: %s, range %q", resp.Status, resp.Header.Get("Range"))
	}
	return resp.Header.Get("Location")
}

// TestUploads goes through what the OCI distribution spec has under "Pushing
// Blobs".
func TestUploads(t *testing.T) {
	s := start(t, t.TempDir())
	const blob = "the whole of a blob"
	digest := pack.DigestOf([]byte(blob))
	there := func() bool {
		resp, b := get(t, s, "/v2/"+component+"/blobs/"+digest)
		return resp.StatusCode == http.StatusOK && string(b) == blob
	}
	remove := func() {
		if err := os.Remove(s.catalog.blobPath(digest)); err != nil {
			t.Error(err)
		}
	}
	place := "/v2/" + component + "/blobs/" + digest

	resp, _ := as(t, http.MethodPost, s, "/v2/"+component+"/blobs/uploads/?digest="+digest, blob)
	if resp.StatusCode != http.StatusCreated || resp.Header.Get("Location") != place || !there() {
		t.Errorf("whole, in one request: %s", resp.Status)
	}
	resp, _ = as(t, http.MethodPost, s, "/v2/application/other/blobs/uploads/?from="+component+"&mount="+digest, "")
	if resp.StatusCode != http.StatusCreated || resp.Header.Get("Docker-Content-Digest") != digest {
		t.Errorf("mount: %s", resp.Status)
	}
	remove()
	resp, _ = as(t, http.MethodPost, s, "/v2/application/other/blobs/uploads/?from="+component+"&mount="+digest, "")
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Location") == "" {
		t.Errorf("mount of what is not there: %s", resp.Status)
	}

	at := beginUpload(t, s)
	if resp, _ = as(t, http.MethodPut, s, at+"?digest="+digest, blob); resp.StatusCode != http.StatusCreated || !there() {
		t.Errorf("whole, in two requests: %s", resp.Status)
	}
	remove()

	at = beginUpload(t, s)
	for _, step := range []struct {
		method, query, body, chunk string
		status                     int
		so                         string // range
	}{
		{http.MethodPatch, "", blob[:8], "0-7", 202, "0-7"},
		{http.MethodPatch, "", blob[9:], "9-18", 416, "0-7"},
		{http.MethodPatch, "", blob[8:], "nonsense", 400, ""},
		{http.MethodPatch, "", blob[8:], "8-7", 400, ""},
		{http.MethodGet, "", "", "", 204, "0-7"},
		{http.MethodPatch, "", blob[8:12], "", 202, "0-11"}, // as docker and skopeo do
		{http.MethodPut, "?digest=" + digest, blob[12:], "12-18", 201, ""},
		{http.MethodPut, "?digest=" + digest, "", "", 404, ""}, // it has ended
	} {
		header := []string{}
		if step.chunk != "" {
			header = []string{"Content-Range", step.chunk}
		}
		resp, b := as(t, step.method, s, at+step.query, step.body, header...)
		if resp.StatusCode != step.status || resp.Header.Get("Range") != step.so {
			t.Errorf("%+v: %s, range %q: %s", step, resp.Status, resp.Header.Get("Range"), b)
		}
	}
	if !there() {
		t.Error("chunks made another blob")
	}
	at = beginUpload(t, s)
	for _, method := range []string{http.MethodDelete, http.MethodGet} {
		resp, _ = as(t, method, s, at, "")
	}
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("an upload that was given up: %s", resp.Status)
	}
	if left, _ := os.ReadDir(s.catalog.uploads()); len(left) != 1 { // of the mount
		t.Errorf("left behind: %v", left)
	}
}

// TestErrors: what goes wrong is told as the spec has it.
func TestErrors(t *testing.T) {
	s := start(t, t.TempDir())
	p := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: "x"})
	at := beginUpload(t, s)
	large := strings.Repeat(" ", pack.MaxManifestSize+1)
	manifests := "/v2/" + component + "/manifests/"
	for _, test := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"GET", manifests + "9.9.9", "", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/" + component + "/blobs/" + pack.DigestOf(nil), "", 404, "BLOB_UNKNOWN"},
		{"GET", "/v2/" + component + "/blobs/sha256:x", "", 400, "DIGEST_INVALID"},
		{"GET", "/v2/application/nobody/tags/list", "", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/" + component + "/tags/list?n=x", "", 400, "UNSUPPORTED"},
		{"GET", "/v2/" + component + "/referrers/x", "", 400, "DIGEST_INVALID"},
		{"PUT", at + "?digest=" + p.Digest, "other", 400, "DIGEST_INVALID"},
		{"PUT", beginUpload(t, s) + "?digest=sha256:..", "", 400, "DIGEST_INVALID"},
		{"PUT", "/v2/" + component + "/blobs/uploads/x?digest=" + p.Digest, "other", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"PATCH", "/v2/" + component + "/blobs/uploads/..%2fx", "", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"POST", "/v2/Application/x/blobs/uploads/", "", 400, "NAME_INVALID"},
		{"PUT", manifests + "1.0.0", "{}", 400, "MANIFEST_INVALID"},
		{"PUT", manifests + "1.0.0", large, 413, "MANIFEST_INVALID"},
		{"DELETE", manifests + "9.9.9", "", 404, "MANIFEST_UNKNOWN"},
		{"DELETE", "/v2/" + component + "/blobs/" + p.Config.Digest, "", 405, "UNSUPPORTED"},
	} {
		resp, b := as(t, test.method, s, test.path, test.body)
		var said struct {
			Errors []struct{ Code, Message string }
		}
		err := json.Unmarshal(b, &said)
		if resp.StatusCode != test.status || err != nil || len(said.Errors) != 1 || said.Errors[0].Code != test.code || said.Errors[0].Message == "" {
			t.Errorf("%s %s: %s, %s", test.method, test.path, resp.Status, b)
		}
		if resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: content type %s", test.method, test.path, resp.Header.Get("Content-Type"))
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodDelete} {
		if resp, _ := do(t, method, s, at, nil); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s of an upload by anybody: %s", method, resp.Status)
		}
	}
}

// TestTagPages lists versions in pages.
func TestTagPages(t *testing.T) {
	s := start(t, t.TempDir())
	for _, v := range []string{"2.0.0", "10.0.0", "1.0.0"} {
		mustPush(t, s, variation{version: v, arch: "amd64", body: v})
	}
	var all []string
	path := "/v2/" + component + "/tags/list?n=2"
	for path != "" && len(all) < 10 {
		resp, b := get(t, s, path)
		var page struct{ Tags []string }
		if err := json.Unmarshal(b, &page); err != nil {
			t.Fatal(err)
		}
		all = append(append(all, page.Tags...), "|")
		path, _, _ = strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	}
	if got, want := strings.Join(all, " "), "1.0.0 10.0.0 | 2.0.0 |"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	repo := repository(t, s, component, token)
	var seen []string
	if err := repo.Tags(t.Context(), "", func(tags []string) error { seen = append(seen, tags...); return nil }); err != nil || len(seen) != 3 {
		t.Errorf("oras-go sees %v, %v", seen, err)
	}
}

// attach says something about a package, as oras attach does.
func attach(t *testing.T, s *Server, p *pack.Package, kind, text string) ocispec.Descriptor {
	t.Helper()
	repo := repository(t, s, component, token)
	d, err := oras.PushBytes(t.Context(), repo, kind, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	subject := descriptor(p.Descriptor())
	at, err := oras.PackManifest(t.Context(), repo, oras.PackManifestVersion1_1, kind, oras.PackManifestOptions{
		Subject: &subject, Layers: []ocispec.Descriptor{d}, ManifestAnnotations: map[string]string{ocispec.AnnotationCreated: "2026-11-22T08:00:00Z"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestReferrers(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	p := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: "x"})
	sbom := attach(t, s, p, pack.MediaTypeCycloneDX, "{}")
	attach(t, s, p, "application/vnd.example", "{}")
	for range 2 { // also after a restart
		repo := repository(t, s, component, token)
		for kind, want := range map[string]int{"": 2, pack.MediaTypeCycloneDX: 1, "none": 0} {
			found, err := registry.Referrers(t.Context(), repo, descriptor(p.Descriptor()), kind)
			if err != nil || len(found) != want {
				t.Errorf("%q: %v, %v", kind, found, err)
			}
		}
		resp, b := get(t, s, "/v2/"+component+"/referrers/"+p.Digest+"?artifactType="+pack.MediaTypeCycloneDX)
		if resp.Header.Get("OCI-Filters-Applied") != "artifactType" || resp.Header.Get("Content-Type") != pack.MediaTypeIndex {
			t.Errorf("headers %v", resp.Header)
		}
		var index ocispec.Index
		if err := json.Unmarshal(b, &index); err != nil || len(index.Manifests) != 1 || index.Manifests[0].Digest != sbom.Digest || len(index.Manifests[0].Annotations) != 1 {
			t.Errorf("%s, %v", b, err)
		}
		if _, b := get(t, s, "/v2/"+component+"/referrers/"+pack.DigestOf(nil)); !strings.Contains(string(b), `"manifests":[]`) {
			t.Errorf("of nothing: %s", b)
		}
		s = start(t, dir)
	}
	manifest, err := content.FetchAll(t.Context(), repository(t, s, component, token), sbom)
	if err != nil {
		t.Fatal(err)
	}
	put := func(component, reference string, b []byte) *http.Response {
		resp, _ := as(t, http.MethodPut, s, "/v2/"+component+"/manifests/"+reference, string(b))
		return resp
	}
	if resp := put(component, sbom.Digest.String(), manifest); resp.StatusCode != http.StatusCreated || resp.Header.Get("OCI-Subject") != p.Digest {
		t.Errorf("again: %s, subject %q", resp.Status, resp.Header.Get("OCI-Subject"))
	}
	if resp := put(component, "sbom", manifest); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("by a name: %s", resp.Status)
	}
	other := bytes.ReplaceAll(manifest, []byte(pack.DigestOf([]byte("{}"))), []byte(pack.DigestOf([]byte("gone"))))
	if resp := put(component, pack.DigestOf(other), other); resp.StatusCode != http.StatusNotFound {
		t.Errorf("without its blobs: %s", resp.Status)
	}
	if resp, _ := as(t, http.MethodDelete, s, "/v2/"+component+"/manifests/"+sbom.Digest.String(), ""); resp.StatusCode != http.StatusAccepted {
		t.Errorf("delete: %s", resp.Status)
	}
	if found, err := registry.Referrers(t.Context(), repository(t, s, component, token), descriptor(p.Descriptor()), ""); err != nil || len(found) != 1 {
		t.Errorf("after one was deleted: %v, %v", found, err)
	}
}

// exported is a layout of a package with an SBOM.
func exported(t *testing.T) (dir string, p *pack.Package) {
	t.Helper()
	return build(t, variation{version: "1.0.0", arch: "amd64", body: strings.Repeat("tools of others ", 5000), sbom: true})
}

// single is the single-file form of a layout.
func single(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "p.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := pack.WriteTar(f, dir); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// TestOtherTools has the usual command lines copy a package in and out, as README.md
// says: they change nothing.
func TestOtherTools(t *testing.T) {
	for name, test := range map[string]struct {
		referrers int // that it copies
		commands  []string
	}{
		"oras": {1, []string{
			"login HOST -u publisher -p TOKEN --plain-http",
			"cp -r --from-oci-layout FILE:1.0.0 --to-plain-http REPOSITORY:1.0.0",
			"discover --plain-http REPOSITORY:1.0.0",
			"cp -r --from-plain-http REPOSITORY:1.0.0 --to-oci-layout OUT:1.0.0",
			"manifest delete -f --plain-http REPOSITORY:1.0.0",
		}},
		"skopeo": {0, []string{
			"--insecure-policy copy --preserve-digests --dest-tls-verify=false --dest-creds=publisher:TOKEN oci-archive:FILE:1.0.0 docker://REPOSITORY:1.0.0",
			"list-tags --tls-verify=false docker://REPOSITORY",
			"--insecure-policy copy --preserve-digests --src-tls-verify=false docker://REPOSITORY:1.0.0 oci:OUT:1.0.0",
			"delete --tls-verify=false --creds=publisher:TOKEN docker://REPOSITORY:1.0.0",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			program, err := exec.LookPath(name)
			if err != nil {
				t.Skipf("NOT TESTED: there is no %s here", name)
			}
			s := start(t, t.TempDir())
			dir, p := exported(t)
			out, home := filepath.Join(t.TempDir(), "out"), t.TempDir()
			fill := strings.NewReplacer("FILE", single(t, dir), "OUT", out, "REPOSITORY", s.HTTPAddr()+"/"+component, "HOST", s.HTTPAddr(), "TOKEN", token)
			for _, line := range test.commands {
				command := exec.CommandContext(t.Context(), program)
				for _, word := range strings.Fields(line) {
					command.Args = append(command.Args, fill.Replace(word))
				}
				command.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "DOCKER_CONFIG="+home)
				if b, err := command.CombinedOutput(); err != nil {
					t.Fatalf("%s %s: %v\n%s", name, line, err, b)
				}
			}
			l, err := pack.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := l.Verify(); err != nil || l.Package.Digest != p.Digest || len(l.Referrers) != test.referrers {
				t.Errorf("came out as %s with %d referrers, went in as %s: %v", l.Package.Digest, len(l.Referrers), p.Digest, err)
			}
			if resp, _ := get(t, s, "/v2/"+component+"/manifests/1.0.0"); resp.StatusCode != http.StatusNotFound {
				t.Errorf("after it was deleted: %s", resp.Status)
			}
		})
	}
}

// TestOrasGo copies a package, with what is said about it, through this server from
// one store to another.
func TestOrasGo(t *testing.T) {
	s := start(t, t.TempDir())
	dir, p := exported(t)
	if err := push(t, s, dir, component, "1.0.0", token); err != nil {
		t.Fatal(err)
	}
	attach(t, s, p, pack.MediaTypeCycloneDX, `{"bomFormat":"CycloneDX"}`)
	out := t.TempDir()
	store, err := oci.New(out)
	if err != nil {
		t.Fatal(err)
	}
	options := oras.DefaultExtendedCopyOptions
	if _, err := oras.ExtendedCopy(t.Context(), repository(t, s, component, ""), "1.0.0", store, "1.0.0", options); err != nil {
		t.Fatal(err)
	}
	l, err := pack.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := os.Open(single(t, out))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if s, err := pack.NewStream(file); err != nil || s.Package.Digest != p.Digest {
		t.Errorf("as a single file of ours: %v", err)
	}
	if l.Package.Digest != p.Digest || len(l.Referrers) != 1 {
		t.Errorf("package %s with %d referrers, want %s with one", l.Package.Digest, len(l.Referrers), p.Digest)
	}
	resp, b := get(t, s, "/v2/"+component+"/blobs/"+p.Artifacts[0].Digest, "Range", "bytes=5-9")
	f, err := l.Blob(p.Artifacts[0].Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole, err := io.ReadAll(f)
	if diff := cmp.Diff(whole[5:10], b); err != nil || resp.StatusCode != http.StatusPartialContent || diff != "" {
		t.Errorf("range: %s, %v\n%s", resp.Status, err, diff)
	}
}

// FuzzChunk reads the one header that is the distribution spec's own.
func FuzzChunk(f *testing.F) {
	for _, seed := range []string{"", "0-0", "5-9", "bytes 1-2", "9-5", "-1-2", "999999999999999999-999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		at, err := parseChunk(header)
		if err == nil && at != anywhere && (at.first < 0 || at.last < at.first) {
			t.Errorf("%q: %+v", header, at)
		}
		if text := fmt.Sprintf("%d-%d", at.first, at.last); err == nil && at != anywhere {
			if again, err := parseChunk(text); err != nil || again != at {
				t.Errorf("%q is not %q: %v", text, header, err)
			}
		}
	})
}

// FuzzManifest pushes manifests as nobody should.
func FuzzManifest(f *testing.F) {
	c, err := openCatalog(Config{Dir: f.TempDir(), Log: discard})
	if err != nil {
		f.Fatal(err)
	}
	blob := `{"mediaType":"a/b","digest":"` + pack.DigestOf(nil) + `","size":0}`
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"` + pack.MediaTypeManifest + `","config":` + blob + `,"layers":[` + blob + `],"subject":` + blob + `}`))
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"` + pack.MediaTypeManifest + `","artifactType":"` + pack.ArtifactType + `"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err1 := c.add(component, pack.DigestOf(b), b)
		_, err2 := c.attach(component, pack.DigestOf(b), b)
		if err1 == nil || err2 == nil && len(c.beside[component]) == 0 {
			t.Errorf("taken: %v, %v", err1, err2)
		}
		if slices.ContainsFunc(c.index.Manifests, func(d ocispec.Descriptor) bool { return d.Annotations[annotationComponent] == "" }) {
			t.Error("a package appeared")
		}
	})
}
