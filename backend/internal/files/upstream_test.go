package files

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// behind has a server keep its packages in another one.
func behind(t *testing.T, url string) (*Server, func(*Config)) {
	t.Helper()
	edit := func(c *Config) { c.Store, c.StoreUser, c.StorePassword, c.Deltas = url, "publisher", token, 1 }
	return start(t, t.TempDir(), edit), edit
}

// until asks again while a server looks into its registry.
func until(t *testing.T, s *Server, path string, status int) []byte {
	t.Helper()
	for {
		resp, b := get(t, s, path)
		if resp.StatusCode == status {
			return b
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: %s", path, resp.Status)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestStoreBehind has the packages in another registry, here one of our own.
func TestStoreBehind(t *testing.T) {
	registry := start(t, t.TempDir())
	storeBehind(t, "http://"+registry.HTTPAddr(), registry.HTTPAddr())
}

// TestStoreBehindDocker has them in Docker's registry, below a prefix.
func TestStoreBehindDocker(t *testing.T) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("NOT TESTED: a registry of others: docker-registry is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	config := t.TempDir() + "/config.yml"
	text := "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: " + t.TempDir() + "}, delete: {enabled: true}}\nhttp: {addr: " + addr + "}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/v2/")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	storeBehind(t, "http://"+addr+"/tranquil/packages", addr)
}

func storeBehind(t *testing.T, url, host string) {
	s, _ := behind(t, url)
	first := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: grown("1.0.0"), sbom: true})
	attach(t, s, first, pack.MediaTypeCycloneDX, "{}")
	layout, second := build(t, variation{version: "1.1.0", arch: "amd64", body: grown("1.1.0")})
	if err := push(t, s, layout, component, "1.1.0", token); err != nil {
		t.Fatal(err)
	}

	// Another one, which has nothing, serves the same; blobs come when asked for.
	other, edit := behind(t, url)
	for _, version := range []string{"1.0.0", "1.1.0"} {
		until(t, other, "/v2/"+component+"/manifests/"+version, http.StatusOK)
	}
	artifact := second.Artifacts[0].Digest
	if b := until(t, other, "/v2/"+component+"/blobs/"+artifact, http.StatusOK); pack.DigestOf(b) != artifact {
		t.Errorf("the artifact has %d bytes", len(b))
	}
	base := first.Artifacts[0].Digest
	for t.Context().Err() == nil { // it comes after the package
		if b := until(t, other, "/v2/"+component+"/referrers/"+first.Digest, http.StatusOK); strings.Contains(string(b), pack.MediaTypeCycloneDX) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if h, status := hinted(t, other, artifact, base); status != http.StatusOK || applied(t, other, h) != artifact {
		t.Errorf("a delta: %d, %+v", status, h)
	}
	if over := dial(t, other).get(t, "/v2/"+component+"/blobs/"+base); pack.DigestOf(over) != base {
		t.Errorf("over CoAP: %d bytes", len(over))
	}
	if resp, _ := get(t, other, "/v2/"+component+"/blobs/"+pack.DigestOf([]byte("none"))); resp.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown blob: %s", resp.Status)
	}

	// What is deleted by one is gone for the other when it looks again.
	if resp, b := as(t, http.MethodDelete, s, "/v2/"+component+"/manifests/1.0.0", ""); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%s: %s", resp.Status, b)
	}
	if err := other.catalog.compare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if resp, _ := get(t, other, "/v2/"+component+"/manifests/1.0.0"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("deleted by the other: %s", resp.Status)
	}

	// Without the registry all is served that is here, and nothing is published.
	dir := other.cfg.Dir
	other = start(t, dir, edit, func(c *Config) { c.Store = strings.Replace(url, host, "127.0.0.1:1", 1) })
	if b := until(t, other, "/v2/"+component+"/blobs/"+artifact, http.StatusOK); pack.DigestOf(b) != artifact {
		t.Errorf("without the registry: %d bytes", len(b))
	}
	layout, _ = build(t, variation{version: "1.2.0", arch: "amd64", body: "new"})
	if err := push(t, other, layout, component, "1.2.0", token); err == nil || !strings.Contains(err.Error(), "the registry behind") {
		t.Errorf("published without the registry: %v", err)
	}
	if resp, _ := get(t, other, "/v2/"+component+"/manifests/1.2.0"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("it is there: %s", resp.Status)
	}
}

// TestStoreURL refuses what is no registry.
func TestStoreURL(t *testing.T) {
	for _, url := range []string{"registry", "ftp://host", "https://", "https://user@host/x", "https://host?x"} {
		if _, err := New(Config{Dir: t.TempDir(), Trust: t.TempDir(), Store: url}); err == nil {
			t.Errorf("%s is taken", url)
		}
	}
}
