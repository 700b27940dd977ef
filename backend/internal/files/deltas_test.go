package files

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/delta"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// grown is the content of a version: most of it is the same in each.
func grown(version string) string {
	b := make([]byte, 30_000)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return string(b[:10_000]) + "this is version " + version + string(b[10_000:])
}

func versioned(t *testing.T, s *Server, version string) pack.Descriptor {
	t.Helper()
	p := mustPush(t, s, variation{version: version, arch: "amd64", body: grown(version)})
	return p.Artifacts[0].Descriptor
}

// hinted asks for a delta, also of what may still be made.
func hinted(t *testing.T, s *Server, target string, bases ...string) (hint, int) {
	t.Helper()
	path := "/deltas/" + component + "/" + target + "?format=2&base=" + strings.Join(bases, "&base=")
	for {
		resp, b := get(t, s, path)
		var h hint
		if resp.StatusCode == http.StatusOK {
			if err := json.Unmarshal(b, &h); err != nil {
				t.Fatal(err)
			}
		}
		if resp.StatusCode != http.StatusServiceUnavailable {
			return h, resp.StatusCode
		}
		select {
		case <-t.Context().Done():
			t.Fatal("no delta was made")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// applied fetches a delta and what it is from, and returns what it makes.
func applied(t *testing.T, s *Server, h hint) string {
	t.Helper()
	open := func(digest string) *os.File {
		_, b := get(t, s, "/v2/"+component+"/blobs/"+digest)
		path := filepath.Join(t.TempDir(), "blob")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	var made bytes.Buffer
	dir := t.TempDir()
	scratch := func(int64) (*os.File, error) { return os.CreateTemp(dir, "scratch-*") }
	if err := delta.Apply(&made, open(h.Digest), open(h.Base), scratch); err != nil {
		t.Fatal(err)
	}
	return pack.DigestOf(made.Bytes())
}

// TestDeltas: what is pushed has deltas from the last versions before it, which lead
// to its bytes; they outlive a restart, and go with what they are from.
func TestDeltas(t *testing.T) {
	dir := t.TempDir()
	two := func(c *Config) { c.Deltas = 2 }
	s := start(t, dir, two)
	a, b, c := versioned(t, s, "1.0.0"), versioned(t, s, "1.1.0"), versioned(t, s, "1.2.0")
	d := versioned(t, s, "2.0.0")
	hinted(t, s, d.Digest, c.Digest) // what is made depends on what is there then
	patch := versioned(t, s, "1.1.1")
	check := func(what string, target pack.Descriptor, want string, bases ...string) {
		t.Helper()
		h, status := hinted(t, s, target.Digest, bases...)
		switch {
		case want == "" && status != http.StatusNotFound, want != "" && status != http.StatusOK, h.Base != want:
			t.Errorf("%s: status %d, %+v", what, status, h)
		case want != "" && (h.Size > 600 || h.Memory != delta.Memory || h.Scratch < 30_000):
			t.Errorf("%s: %+v", what, h)
		case want != "" && applied(t, s, h) != target.Digest:
			t.Errorf("%s: it makes something else", what)
		}
	}
	none := pack.DigestOf([]byte("what nobody has"))
	check("the last version", d, c.Digest, c.Digest)
	check("the one before it, among others", d, b.Digest, none, b.Digest, none)
	check("two before it", d, "", a.Digest)
	check("an unknown base", d, "", none)
	check("a version pushed late", patch, b.Digest, b.Digest)
	check("the way back", b, "", c.Digest)
	check("no such target", pack.Descriptor{Digest: none}, "", a.Digest)
	if over := dial(t, s).get(t, "/deltas/"+component+"/"+d.Digest+"?format=2&base="+c.Digest); !bytes.Contains(over, []byte(c.Digest)) {
		t.Errorf("over CoAP: %s", over)
	}
	for _, query := range []string{"", "?base=x", "?format=x&base=" + c.Digest, "?format=3&base=" + c.Digest, "?base=" + strings.Repeat(a.Digest+"&base=", maxBases) + a.Digest} {
		if resp, _ := get(t, s, "/deltas/"+component+"/"+d.Digest+query); resp.StatusCode == http.StatusOK {
			t.Errorf("%.20q is answered", query)
		}
	}

	before := s.catalog.deltas.of(patch.Digest)
	s = start(t, dir, two)
	if diff := cmp.Diff(before, s.catalog.deltas.of(patch.Digest)); diff != "" {
		t.Error("after a restart", diff)
	}
	check("after a restart", d, c.Digest, c.Digest)
	if err := s.catalog.noteHint(d.Digest, hint{Base: c.Digest, Digest: none, Size: 1}); err != nil { // an older server has made it
		t.Fatal(err)
	}
	s = start(t, dir, two)
	check("beside one of an older format", d, c.Digest, c.Digest)
	if resp, _ := as(t, http.MethodDelete, s, "/v2/"+component+"/manifests/1.2.0", ""); resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp.Status)
	}
	if _, err := s.catalog.sweep(time.Now().Add(2 * leftover)); err != nil {
		t.Fatal(err)
	}
	check("from a version that is deleted", d, "", c.Digest)
	check("from one that is not", d, b.Digest, b.Digest)
	if err := os.WriteFile(s.catalog.hintPath(d.Digest), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir, two)
	check("after damage", d, patch.Digest, patch.Digest)
}

// TestDeltasLater has the server end before it has made any.
func TestDeltasLater(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	a, b := versioned(t, s, "1.0.0"), versioned(t, s, "1.1.0")
	if _, status := hinted(t, s, b.Digest, a.Digest); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
	s = start(t, dir, func(c *Config) { c.Deltas = 3 })
	if h, _ := hinted(t, s, b.Digest, a.Digest); h.Base != a.Digest {
		t.Errorf("%+v", h)
	}
}

// TestNoDelta is about blobs of which there is none: that is found out once.
func TestNoDelta(t *testing.T) {
	dir := t.TempDir()
	three := func(c *Config) { c.Deltas = 3 }
	s := start(t, dir, three)
	another := make([]byte, 30_000)
	rand.NewChaCha8([32]byte{2}).Read(another)
	a := versioned(t, s, "1.0.0")
	b := mustPush(t, s, variation{version: "1.1.0", arch: "amd64", body: string(another)}).Artifacts[0]
	small := mustPush(t, s, variation{version: "1.2.0", arch: "amd64", body: "small"}).Artifacts[0]
	for range 2 {
		if _, status := hinted(t, s, b.Digest, a.Digest); status != http.StatusNotFound {
			t.Errorf("another content: status %d", status)
		}
		if _, status := hinted(t, s, small.Digest, b.Digest); status != http.StatusNotFound {
			t.Errorf("small: status %d", status)
		}
		s = start(t, dir, three)
	}
	if got := s.catalog.deltas.of(b.Digest); len(got) != 1 || got[0].Size != 0 {
		t.Errorf("what was found out: %+v", got)
	}
}

// TestNoDeltaOfWhatIsGone: that a package was removed meanwhile is nobody's error; that
// a blob of one is missing is.
func TestNoDeltaOfWhatIsGone(t *testing.T) {
	var log bytes.Buffer
	s, err := New(Config{Dir: t.TempDir(), Trust: t.TempDir(), HTTP: "127.0.0.1:0", Token: token, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.serveHTTP(ctx) }() // and nothing else that would log meanwhile
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	versioned(t, s, "1.0.0")
	versioned(t, s, "2.0.0")
	p := s.catalog.versions[component][0]
	s.catalog.deltas.last = 3
	pairs := s.catalog.pairs(p)
	if len(pairs) != 1 {
		t.Fatalf("pairs %v", pairs)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Remove(s.catalog.blobPath(pairs[0].base.Digest)))
	s.catalog.tryDelta(p, pairs[0])
	if !strings.Contains(log.String(), "cannot make delta") {
		t.Errorf("the log is silent about a blob that is missing: %s", log.String())
	}
	log.Reset()
	must(s.catalog.delete(component, "1.0.0"))
	s.catalog.tryDelta(p, pairs[0])
	if strings.Contains(log.String(), "ERROR") {
		t.Errorf("the log: %s", log.String())
	}
}
