package files

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

var discard = slog.New(slog.DiscardHandler)

// stored counts the blobs of a store.
func stored(t *testing.T, s *Server) int {
	t.Helper()
	all, err := os.ReadDir(s.catalog.blobDir())
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestSweep: what no manifest names goes after a day, and nothing else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	p := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: "x"})
	attach(t, s, p, pack.MediaTypeCycloneDX, "{}")
	kept := stored(t, s)
	stray := attach(t, s, &pack.Package{Digest: pack.DigestOf([]byte("none")), Size: 4}, pack.MediaTypeSPDX, "about nothing")
	lone := pack.DigestOf([]byte("lone"))
	as(t, http.MethodPost, s, "/v2/"+component+"/blobs/uploads/?digest="+lone, "lone")
	beginUpload(t, s)
	used := inUse(s)

	for _, step := range []struct {
		after time.Duration
		blobs int
	}{{leftover / 2, kept + 3}, {2 * leftover, kept}} {
		if _, err := s.catalog.sweep(time.Now().Add(step.after)); err != nil {
			t.Fatal(err)
		}
		if got := stored(t, s); got != step.blobs {
			t.Errorf("after %v: %d blobs, want %d", step.after, got, step.blobs)
		}
	}
	if left, _ := os.ReadDir(s.catalog.uploads()); len(left) > 0 {
		t.Errorf("uploads: %v", left)
	}
	if want := used - stray.Size - int64(len("about nothing")+len("lone")); inUse(s) != want {
		t.Errorf("%d bytes are in use, want %d", inUse(s), want)
	}
	s = start(t, dir)
	if resp, _ := get(t, s, "/v2/"+component+"/manifests/1.0.0"); resp.StatusCode != http.StatusOK {
		t.Errorf("the package: %s", resp.Status)
	}
	if resp, _ := get(t, s, "/v2/"+component+"/manifests/"+stray.Digest.String()); resp.StatusCode != http.StatusNotFound {
		t.Errorf("what refers to nothing: %s", resp.Status)
	}
}

// TestDelete: a package goes with what is said about it, and with the blobs that
// no other has.
func TestDelete(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	first := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: "same"})
	left := stored(t, s)
	second := mustPush(t, s, variation{version: "2.0.0", arch: "amd64", body: "same"})
	attach(t, s, second, pack.MediaTypeCycloneDX, "{}")
	if first.Artifacts[0].Digest != second.Artifacts[0].Digest {
		t.Fatal("the packages share nothing")
	}
	if resp, _ := do(t, http.MethodDelete, s, "/v2/"+component+"/manifests/2.0.0", nil); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("by anybody: %s", resp.Status)
	}
	if resp, _ := as(t, http.MethodDelete, s, "/v2/"+component+"/manifests/2.0.0", ""); resp.StatusCode != http.StatusAccepted {
		t.Errorf("by the publisher: %s", resp.Status)
	}
	for range 2 {
		if got := stored(t, s); got != left {
			t.Errorf("%d blobs, want %d", got, left)
		}
		for path, want := range map[string]int{"1.0.0": 200, "2.0.0": 404, second.Digest: 404} {
			if resp, _ := get(t, s, "/v2/"+component+"/manifests/"+path); resp.StatusCode != want {
				t.Errorf("%s: %s", path, resp.Status)
			}
		}
		s = start(t, dir)
	}
	as(t, http.MethodDelete, s, "/v2/"+component+"/manifests/"+first.Digest, "")
	if resp, _ := get(t, s, "/v2/"+component+"/tags/list"); resp.StatusCode != http.StatusNotFound || stored(t, s) != 0 || inUse(s) != 0 {
		t.Errorf("when all are gone: %s, %d blobs, %d bytes", resp.Status, stored(t, s), inUse(s))
	}
	mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: "same"})
}

// TestRetention keeps what was pushed last, and the newest.
func TestRetention(t *testing.T) {
	s := start(t, t.TempDir(), func(c *Config) { c.Keep = 2 })
	for _, step := range []struct{ push, want string }{
		{"1.0.0", "1.0.0"},
		{"3.0.0", "1.0.0 3.0.0"},
		{"2.0.0", "2.0.0 3.0.0"},
		{"2.0.1", "2.0.1 3.0.0"}, // 3.0.0 was pushed before, and is the newest
		{"4.0.0", "2.0.1 4.0.0"},
	} {
		mustPush(t, s, variation{version: step.push, arch: "amd64", body: step.push})
		var all []string
		for _, p := range s.catalog.versions[component] {
			all = append([]string{p.Manifest.Version}, all...)
		}
		if got := strings.Join(all, " "); got != step.want {
			t.Errorf("after %s: %s, want %s", step.push, got, step.want)
		}
	}
}

// TestQuota: what does not fit is refused before it is there, and what was taken
// back makes room.
func TestQuota(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	p := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: "x"})
	used := inUse(s)
	s = start(t, dir, func(c *Config) { c.Quota = used + 10 })
	if inUse(s) != used {
		t.Errorf("after a restart %d bytes are in use, before %d", inUse(s), used)
	}
	layout, _ := build(t, variation{version: "2.0.0", arch: "amd64", body: "y"})
	if err := push(t, s, layout, component, "2.0.0", token); err == nil || !strings.Contains(err.Error(), "507") || !strings.Contains(err.Error(), "quota") {
		t.Errorf("pushed: %v", err)
	}
	if inUse(s) > used+10 {
		t.Errorf("%d bytes are in use", inUse(s))
	}
	at := beginUpload(t, s)
	for _, want := range []int{http.StatusInsufficientStorage, http.StatusNotFound} { // it was dropped
		if resp, b := as(t, http.MethodPatch, s, at, strings.Repeat("x", 1000)); resp.StatusCode != want {
			t.Errorf("%s: %s", resp.Status, b)
		}
	}
	if err := s.catalog.delete(component, p.Digest); err != nil {
		t.Error(err)
	}
	if err := push(t, s, layout, component, "2.0.0", token); err != nil {
		t.Errorf("with room: %v", err)
	}
}

// TestHTTPRate bounds each address by itself; this machine is not bounded.
func TestHTTPRate(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir(), Trust: t.TempDir(), HTTPRate: 1e-9, HTTPBurst: 2})
	if err != nil {
		t.Fatal(err)
	}
	handler := s.handler()
	ask := func(from string) int {
		r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if (w.Header().Get("Retry-After") != "") != (w.Code == http.StatusTooManyRequests) {
			t.Errorf("%s: %d, Retry-After %q", from, w.Code, w.Header().Get("Retry-After"))
		}
		return w.Code
	}
	for i, step := range []struct {
		from string
		want int
	}{
		{"192.0.2.1:1", 200},
		{"192.0.2.1:2", 200},
		{"192.0.2.1:3", 429},
		{"192.0.2.2:1", 200},
		{"[2001:db8::1]:1", 200},
		{"127.0.0.1:1", 200},
		{"127.0.0.1:1", 200},
		{"127.0.0.1:1", 200},
	} {
		if got := ask(step.from); got != step.want {
			t.Errorf("%d, %s: %d, want %d", i, step.from, got, step.want)
		}
	}
}

// inUse is how many bytes the store has.
func inUse(s *Server) int64 {
	q := s.catalog.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used
}
