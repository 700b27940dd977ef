package files

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	component = "application/sensor-adapter"
	token     = "the publisher's token"
)

// start serves a store until the test ends.
func start(t *testing.T, dir string, edits ...func(*Config)) *Server {
	t.Helper()
	cfg := Config{Dir: dir, Trust: dir + ".trust", HTTP: "127.0.0.1:0", CoAP: "127.0.0.1:0", Token: token}
	for _, edit := range edits {
		edit(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

// A variation of a package.
type variation struct {
	version, file, body string
	arch                string
	sbom                bool // beside it
}

// build makes a package and returns its layout directory.
func build(t *testing.T, v variation) (string, *pack.Package) {
	t.Helper()
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "layout")
	recipe := fmt.Sprintf("type = \"application\"\nname = \"sensor-adapter\"\nversion = %q\nfile = %q\n[settings]\ncommand = [\"./run\"]\n[[artifact]]\npath = \"files\"\nos = \"linux\"\narch = %q\n", v.version, v.file, v.arch)
	if err := os.MkdirAll(filepath.Join(dir, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{pack.RecipeFile: recipe, "files/run": v.body} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r, err := pack.ReadRecipe(dir)
	if err != nil {
		t.Fatal(err)
	}
	if v.sbom {
		r.Attachments = []pack.Attachment{{Type: pack.MediaTypeCycloneDX, Content: func(*pack.Package) ([]byte, error) { return []byte("{}"), nil }}}
	}
	p, err := r.Build(out)
	if err != nil {
		t.Fatal(err)
	}
	return out, p
}

// repository is where a registry client finds a component.
func repository(t *testing.T, s *Server, name, password string) *remote.Repository {
	t.Helper()
	repo, err := remote.NewRepository(s.HTTPAddr() + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	repo.PlainHTTP = true
	repo.Client = &auth.Client{Client: client, Credential: auth.StaticCredential(s.HTTPAddr(), auth.Credential{Username: "publisher", Password: password})}
	return repo
}

// push does what the command line does.
func push(t *testing.T, s *Server, layout, name, tag, bearer string) error {
	t.Helper()
	repo := repository(t, s, name, bearer)
	source, err := oci.New(layout)
	if err != nil {
		t.Fatal(err)
	}
	var root string
	b, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err == nil {
		var index ocispec.Index
		err = json.Unmarshal(b, &index)
		root = index.Manifests[0].Digest.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = oras.Copy(t.Context(), source, root, repo, tag, oras.DefaultCopyOptions)
	return err
}

func mustPush(t *testing.T, s *Server, v variation) *pack.Package {
	t.Helper()
	layout, p := build(t, v)
	if err := push(t, s, layout, component, v.version, token); err != nil {
		t.Fatal(err)
	}
	return p
}

func get(t *testing.T, s *Server, path string, header ...string) (*http.Response, []byte) {
	t.Helper()
	return do(t, http.MethodGet, s, path, nil, header...)
}

func do(t *testing.T, method string, s *Server, path string, body io.Reader, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.HTTPAddr()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

// TestPushAndPull pushes with oras-go and reads everything back over both
// protocols, also after a restart; oras-go can read the store, too.
func TestPushAndPull(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	p := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: strings.Repeat("body", 5000)})
	for range 2 {
		paths := map[string]string{"/v2/" + component + "/manifests/1.0.0": p.Digest, "/v2/" + component + "/manifests/" + p.Digest: p.Digest}
		for _, d := range p.Blobs() {
			paths["/v2/"+component+"/blobs/"+d.Digest] = d.Digest
		}
		for path, digest := range paths {
			resp, b := get(t, s, path)
			if resp.StatusCode != 200 || pack.DigestOf(b) != digest || resp.Header.Get("Docker-Content-Digest") != digest {
				t.Errorf("%s: %s, %d bytes", path, resp.Status, len(b))
			}
			if over := dial(t, s).get(t, path); !bytes.Equal(over, b) {
				t.Errorf("%s: %d bytes over CoAP, %d over HTTP", path, len(over), len(b))
			}
		}
		s = start(t, dir)
	}
	if _, b := get(t, s, "/v2/"+component+"/tags/list"); string(b) != `{"name":"application/sensor-adapter","tags":["1.0.0"]}` {
		t.Errorf("tags: %s", b)
	}
	store, err := oci.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := store.Resolve(t.Context(), component+":1.0.0"); err != nil || d.Digest.String() != p.Digest {
		t.Errorf("oras-go resolves %v, %v", d.Digest, err)
	}
}

func TestRange(t *testing.T) {
	s := start(t, t.TempDir())
	p := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: "x"})
	path := "/v2/" + component + "/manifests/1.0.0"
	_, whole := get(t, s, path)
	tag := `"` + p.Digest + `"`
	tests := []struct {
		header []string
		status int
		want   []byte
	}{
		{[]string{"Range", "bytes=10-"}, 206, whole[10:]},
		{[]string{"Range", "bytes=10-", "If-Range", tag}, 206, whole[10:]},
		{[]string{"Range", "bytes=10-", "If-Range", `"other"`}, 200, whole},
		{[]string{"If-None-Match", tag}, 304, nil},
	}
	for _, test := range tests {
		resp, b := get(t, s, path, test.header...)
		if resp.StatusCode != test.status || !bytes.Equal(b, test.want) {
			t.Errorf("%v: %s, %d bytes, want %d and %d", test.header, resp.Status, len(b), test.status, len(test.want))
		}
	}
	if resp, _ := get(t, s, path, "Range", "bytes=1000000-"); resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("range beyond the end: %s", resp.Status)
	}
	resp, b := do(t, http.MethodHead, s, path, nil)
	if resp.StatusCode != 200 || resp.ContentLength != int64(len(whole)) || len(b) > 0 || resp.Header.Get("ETag") != tag {
		t.Errorf("HEAD: %s, length %d", resp.Status, resp.ContentLength)
	}
}

// TestCheck asks for newer packages, over both protocols.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	for _, v := range []string{"1.0.0", "10.0.0", "2.0.0"} {
		mustPush(t, s, variation{version: v, arch: "amd64", body: v})
	}
	arm := mustPush(t, s, variation{version: "3.0.0", arch: "arm", body: "arm", file: "My_Package.tar"})
	s = start(t, dir) // the index is made from the store
	check := func(query string) string { return "/check/" + component + "?" + query }
	tests := []struct {
		path string
		want string // version; "" none; otherwise the status
	}{
		{check("current=1.0.0&os=linux&arch=amd64"), "10.0.0"},
		{check("os=linux&arch=amd64"), "10.0.0"},
		{check("current=9.9.9&os=linux&arch=amd64"), "10.0.0"},
		{check("current=10.0.0&os=linux&arch=amd64"), ""},
		{check("current=1.0.0&os=linux&arch=arm&variant=v7"), "3.0.0"},
		{check("current=1.0.0&os=linux&arch=riscv64"), ""},
		{check("current=nonsense&os=linux&arch=amd64"), "400"},
		{"/check/application/nobody?current=1.0.0", "404"},
		{"/check/x", "404"},
		{"/packages/application.sensor-adapter.My_Package.tar", "3.0.0"},
		{"/packages/application.sensor-adapter.sensor-adapter_v2_0_0.tar", "2.0.0"},
		{"/packages/application.sensor-adapter.none.tar", "404"},
	}
	for _, test := range tests {
		resp, b := get(t, s, test.path)
		got := fmt.Sprint(resp.StatusCode)
		if resp.StatusCode == 200 {
			got = versionIn(t, b)
		} else if resp.StatusCode == 204 {
			got = ""
		}
		if got != test.want {
			t.Errorf("HTTP %s: %q, want %q", test.path, got, test.want)
		}
		code, payload := dial(t, s).ask(t, test.path)
		over := map[string]string{"4.04": "404", "4.00": "400", "2.05": ""}[code]
		if code == "2.05" && len(payload) > 0 {
			over = versionIn(t, payload)
		}
		if over != test.want {
			t.Errorf("CoAP %s: %s %q, want %q", test.path, code, over, test.want)
		}
	}
	_, b := get(t, s, check("current=1.0.0&os=linux&arch=arm"))
	if want := fmt.Sprintf(`{"version":"3.0.0","digest":%q,"size":%d}`, arm.Digest, arm.Size); string(b) != want {
		t.Error(cmp.Diff(want, string(b)))
	}
}

func versionIn(t *testing.T, b []byte) string {
	t.Helper()
	var found struct{ Version string }
	if err := json.Unmarshal(b, &found); err != nil {
		t.Fatal(err)
	}
	return found.Version
}

// TestRefusedPushes also checks that nothing of a refused push is served.
func TestRefusedPushes(t *testing.T) {
	s := start(t, t.TempDir())
	layout, p := build(t, variation{version: "1.0.0", arch: "amd64", body: "first"})
	manifest, err := os.ReadFile(filepath.Join(layout, "blobs", "sha256", strings.TrimPrefix(p.Digest, "sha256:")))
	if err != nil {
		t.Fatal(err)
	}
	put := func(path, bearer string, body []byte) int {
		resp, _ := do(t, http.MethodPut, s, path, bytes.NewReader(body), "Authorization", "Bearer "+bearer)
		return resp.StatusCode
	}
	if err := push(t, s, layout, component, "1.0.0", "wrong token"); err == nil {
		t.Error("pushed with a wrong token")
	}
	if got := put("/v2/"+component+"/manifests/1.0.0", "", manifest); got != http.StatusUnauthorized {
		t.Errorf("push without a token: %d", got)
	}
	if got := put("/v2/"+component+"/manifests/1.0.0", token, manifest); got != http.StatusNotFound {
		t.Errorf("manifest without its blobs: %d", got)
	}
	if got := put("/v2/"+component+"/manifests/1.0.0", token, []byte("{}")); got != http.StatusBadRequest {
		t.Errorf("not a manifest: %d", got)
	}
	for repository, tag := range map[string]string{"application/other": "1.0.0", component: "1.0.1"} {
		if err := push(t, s, layout, repository, tag, token); err == nil {
			t.Errorf("pushed %s as %s:%s", component, repository, tag)
		}
	}
	if resp, _ := get(t, s, "/v2/"+component+"/tags/list"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a refused push left something: %s", resp.Status)
	}
}

// TestVersionsAreFinal pushes a version twice: the same bytes are fine.
func TestVersionsAreFinal(t *testing.T) {
	s := start(t, t.TempDir())
	first := variation{version: "1.0.0", arch: "amd64", body: "first"}
	p := mustPush(t, s, first)
	mustPush(t, s, first)
	other := first
	other.body = "second"
	named := variation{version: "1.1.0", arch: "amd64", body: "third", file: "sensor-adapter_v1_0_0.tar"}
	for what, v := range map[string]variation{"version": other, "file name": named} {
		layout, _ := build(t, v)
		if err := push(t, s, layout, component, v.version, token); err == nil || !strings.Contains(err.Error(), "409") {
			t.Errorf("same %s, other bytes: %v", what, err)
		}
	}
	if resp, _ := get(t, s, "/v2/"+component+"/manifests/1.0.0"); resp.Header.Get("Docker-Content-Digest") != p.Digest {
		t.Error("the version was replaced")
	}
}

// TestDamagedStore loses a blob: that package is not served, others are. What is left
// of it stays until it is pushed again, or deleted.
func TestDamagedStore(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	bad := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: "bad"})
	mustPush(t, s, variation{version: "0.9.0", arch: "amd64", body: "good"})
	if err := os.Remove(s.catalog.blobPath(bad.Artifacts[0].Digest)); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	if _, b := get(t, s, "/v2/"+component+"/tags/list"); !strings.Contains(string(b), `["0.9.0"]`) {
		t.Errorf("tags: %s", b)
	}

	blobs := stored(t, s)
	if _, err := s.catalog.sweep(time.Now().Add(2 * leftover)); err != nil || stored(t, s) != blobs {
		t.Errorf("of %d blobs %d are left: %v", blobs, stored(t, s), err)
	}
	layout, _ := build(t, variation{version: "1.0.0", arch: "amd64", body: "another"})
	if err := push(t, s, layout, component, "1.0.0", token); err == nil || !strings.Contains(err.Error(), "which is damaged") {
		t.Errorf("another package in its place: %v", err)
	}
	if err := os.WriteFile(s.catalog.blobPath(bad.Digest), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: "bad"})
	s = start(t, dir)
	if _, b := get(t, s, "/v2/"+component+"/tags/list"); !strings.Contains(string(b), `["0.9.0","1.0.0"]`) || len(s.catalog.damaged) > 0 {
		t.Errorf("pushed again: %s", b)
	}
	if err := os.Remove(s.catalog.blobPath(bad.Config.Digest)); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	for _, want := range []int{http.StatusAccepted, http.StatusNotFound} {
		if resp, _ := as(t, http.MethodDelete, s, "/v2/"+component+"/manifests/1.0.0", ""); resp.StatusCode != want {
			t.Errorf("delete: %s", resp.Status)
		}
	}
	if s = start(t, dir); len(s.catalog.damaged) > 0 {
		t.Error("what was deleted is still in the index")
	}
}

func TestPlaintextBeyondLoopback(t *testing.T) {
	for _, cfg := range []Config{{HTTP: "0.0.0.0:0"}, {CoAP: "0.0.0.0:0"}, {HTTP: ":0"}} {
		cfg.Dir, cfg.Trust = t.TempDir(), t.TempDir()
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "PlaintextBeyondLoopback") {
			t.Errorf("%+v: %v", cfg, err)
		}
		cfg.PlaintextBeyondLoopback = true
		s, err := New(cfg)
		if err != nil {
			t.Error(err)
			continue
		}
		s.Close()
	}
}

func TestUnusableStore(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var syntax *json.SyntaxError
	if _, err := New(Config{Dir: dir, Trust: dir + ".trust"}); !errors.As(err, &syntax) {
		t.Errorf("got %v", err)
	}
}

func TestHealth(t *testing.T) {
	s := start(t, t.TempDir())
	for path, want := range map[string]int{"/healthz": 200, "/v2/": 401, "/": 404, "/v2/a/b/blobs/x": 400} {
		if resp, _ := get(t, s, path); resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

func TestTLS(t *testing.T) {
	lender := httptest.NewTLSServer(http.NotFoundHandler()) // it has a certificate and a client to match
	defer lender.Close()
	s, err := New(Config{Dir: t.TempDir(), Trust: t.TempDir(), HTTP: "127.0.0.1:0", TLS: &tls.Config{Certificates: lender.TLS.Certificates}, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	resp, err := lender.Client().Post("https://"+s.HTTPAddr()+"/v2/a/b/blobs/uploads/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if how := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(how, "Basic ") {
		t.Errorf("%s %s", resp.Status, how)
	}
	lender.Client().CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
