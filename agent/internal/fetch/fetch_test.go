package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

func TestMain(m *testing.M) {
	asClient()
	goleak.VerifyTestMain(m)
}

// How patient a test is that expects a failure, and one that expects none.
const (
	little = time.Second / 2
	ample  = 20 * time.Second
)

// patience is little only where nothing else can come but its end: a busy machine
// takes half a second for anything.
func patience(want error) time.Duration {
	if errors.Is(want, ErrUnreachable) {
		return little
	}
	return ample
}

const component = "application/sensor-adapter"

// randomBlob returns n bytes, the same each time, and their digest.
func randomBlob(n int) ([]byte, string) {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b, pack.DigestOf(b)
}

func blobPath(digest string) string { return "/v2/" + component + "/blobs/" + digest }

func openStore(t *testing.T, dir string) *content.Store {
	t.Helper()
	s, err := content.Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newFetcher(t *testing.T, url string, store Store) *Fetcher {
	t.Helper()
	f, err := New(Config{URL: url, Store: store, Patience: ample, Stall: ample / 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func checkBlob(t *testing.T, s *content.Store, digest string, want []byte) {
	t.Helper()
	f, err := s.Open(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
		t.Errorf("blob has %d bytes, %v, want other %d", len(got), err, len(want))
	}
}

// A served is a server with some content, and the offsets it was asked for.
type served struct {
	url     string
	offsets func() []int64
	put     func(path string, body []byte)
}

// each runs a test over both transports.
func each(t *testing.T, content map[string][]byte, test func(*testing.T, served)) {
	t.Run("coap", func(t *testing.T) {
		s := &coapServer{content: content}
		test(t, served{"coap://" + s.start(t, "127.0.0.1:0"), s.offsets, s.put})
	})
	t.Run("coap+tcp", func(t *testing.T) {
		s := &coapServer{content: content}
		test(t, served{"coap+tcp://" + s.startStream(t), s.offsets, s.put})
	})
	t.Run("http", func(t *testing.T) {
		s := &httpServer{content: content}
		test(t, served{s.start(t), s.offsets, s.put})
	})
}

// An httpServer is what coapServer is, over HTTP.
type httpServer struct {
	content map[string][]byte
	mu      sync.Mutex
	asked   []int64
}

func (s *httpServer) start(t *testing.T) string {
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return srv.URL
}

func (s *httpServer) put(path string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content[path] = body
}

func (s *httpServer) offsets() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func (s *httpServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Path
	if r.URL.RawQuery != "" {
		query, _ := url.QueryUnescape(r.URL.RawQuery)
		key += "?" + query
	}
	var from int64
	fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
	s.mu.Lock()
	s.asked = append(s.asked, from)
	s.mu.Unlock()
	s.mu.Lock()
	body, ok := s.content[key]
	s.mu.Unlock()
	switch {
	case !ok:
		http.NotFound(w, r)
	case len(body) == 0:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("ETag", `"tag"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

func TestBlob(t *testing.T) {
	for _, size := range []int{1, 1023, 1024, 1025, 3 << 20} {
		blob, digest := randomBlob(size)
		each(t, map[string][]byte{blobPath(digest): blob}, func(t *testing.T, s served) {
			store := openStore(t, t.TempDir())
			f := newFetcher(t, s.url, store)
			var last int64
			for range 2 { // the second time it is here already
				err := f.Blob(t.Context(), component, digest, int64(size), func(done, total int64) {
					if done < last || total != int64(size) {
						t.Errorf("progress %d of %d after %d", done, total, last)
					}
					last = done
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			checkBlob(t, store, digest, blob)
			if last != int64(size) {
				t.Errorf("progress ended at %d of %d", last, size)
			}
		})
	}
}

// TestResume cancels half-way; another Fetcher on a store opened anew, as in
// another process, goes on there.
func TestResume(t *testing.T) {
	blob, digest := randomBlob(1<<20 + 100)
	each(t, map[string][]byte{blobPath(digest): blob}, func(t *testing.T, s served) {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		var reached int64
		err := newFetcher(t, s.url, openStore(t, dir)).Blob(ctx, component, digest, int64(len(blob)), func(done, total int64) {
			if reached = done; done >= total/2 {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		s.offsets()
		store := openStore(t, dir)
		if err := newFetcher(t, s.url, store).Blob(t.Context(), component, digest, int64(len(blob)), nil); err != nil {
			t.Fatal(err)
		}
		checkBlob(t, store, digest, blob)
		if first := slices.Min(s.offsets()); first < reached-1024 {
			t.Errorf("went on at byte %d, although %d had come", first, reached)
		}
	})
}

func TestObjects(t *testing.T) {
	manifest, digest := randomBlob(5000)
	found := []byte(`{"version":"2.0.0","digest":"` + digest + `","size":5000}`)
	each(t, map[string][]byte{
		"/v2/" + component + "/manifests/2.0.0":                      manifest,
		"/check/" + component + "?arch=arm&current=1.0.0&os=linux":   found,
		"/check/" + component + "?arch=arm&current=2.0.0&os=linux":   {},
		"/check/" + component + "?arch=arm64&os=linux&variant=v8":    []byte("{"),
		"/packages/application.sensor-adapter.sensor-adapter_v2.tar": found,
	}, func(t *testing.T, s served) {
		f := newFetcher(t, s.url, nil)
		got, err := f.Manifest(t.Context(), component, "2.0.0")
		if err != nil || !bytes.Equal(got, manifest) {
			t.Errorf("manifest of %d bytes, %v", len(got), err)
		}
		want := Found{Version: "2.0.0", Digest: digest, Size: 5000}
		arm := Platform{OS: "linux", Arch: "arm"}
		newest, err := f.Check(t.Context(), component, "1.0.0", arm)
		if err != nil || newest != want {
			t.Error(cmp.Diff(want, newest), err)
		}
		if none, err := f.Check(t.Context(), component, "2.0.0", arm); err != nil || none != (Found{}) {
			t.Errorf("got %v, %v, want none", none, err)
		}
		if _, err := f.Check(t.Context(), component, "", Platform{"linux", "arm64", "v8"}); !errors.Is(err, ErrRefused) {
			t.Errorf("malformed answer: %v", err)
		}
		named, err := f.Named(t.Context(), "application.sensor-adapter.sensor-adapter_v2.tar")
		if err != nil || named != want {
			t.Error(cmp.Diff(want, named), err)
		}
	})
}

func TestNotFound(t *testing.T) {
	each(t, nil, func(t *testing.T, s served) {
		f := newFetcher(t, s.url, openStore(t, t.TempDir()))
		_, digest := randomBlob(1)
		_, manifestErr := f.Manifest(t.Context(), component, "9.9.9")
		_, checkErr := f.Check(t.Context(), "application/nobody", "1.0.0", Platform{})
		_, namedErr := f.Named(t.Context(), "application.nobody.nobody_v1.tar")
		blobErr := f.Blob(t.Context(), component, digest, 1, nil)
		for _, err := range []error{manifestErr, checkErr, namedErr, blobErr} {
			if !errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestObjectTooLarge(t *testing.T) {
	each(t, map[string][]byte{"/v2/" + component + "/manifests/1.0.0": make([]byte, maxObject+1)}, func(t *testing.T, s served) {
		if _, err := newFetcher(t, s.url, nil).Manifest(t.Context(), component, "1.0.0"); !errors.Is(err, ErrSize) {
			t.Errorf("got %v", err)
		}
	})
}

// TestWrongBlob serves bytes that are not those promised; afterwards the right
// ones are accepted.
func TestWrongBlob(t *testing.T) {
	blob, digest := randomBlob(10_000)
	corrupt := slices.Clone(blob)
	corrupt[5000] ^= 1
	for name, test := range map[string]struct {
		body []byte
		want error
	}{
		"corrupt":   {corrupt, content.ErrDigest},
		"truncated": {blob[:9000], ErrSize},
		"over-long": {append(slices.Clone(blob), 1), ErrSize},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, map[string][]byte{}, func(t *testing.T, s served) {
				s.put(blobPath(digest), test.body)
				store := openStore(t, t.TempDir())
				f := newFetcher(t, s.url, store)
				if err := f.Blob(t.Context(), component, digest, int64(len(blob)), nil); !errors.Is(err, test.want) {
					t.Fatalf("got %v, want %v", err, test.want)
				}
				s.put(blobPath(digest), blob)
				if err := f.Blob(t.Context(), component, digest, int64(len(blob)), nil); err != nil {
					t.Fatal(err)
				}
				checkBlob(t, store, digest, blob)
			})
		})
	}
}

// TestUnreachable has nobody listen: the call ends within its patience and
// says what to do.
func TestUnreachable(t *testing.T) {
	_, digest := randomBlob(1)
	for _, url := range []string{"coap://127.0.0.1:1", "http://127.0.0.1:1"} {
		f, err := New(Config{URL: url, Store: openStore(t, t.TempDir()), Patience: little})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Blob(t.Context(), component, digest, 1, nil); !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", url, err)
		}
		f.Close()
	}
}

func TestDiskFull(t *testing.T) {
	blob, digest := randomBlob(1000)
	each(t, map[string][]byte{blobPath(digest): blob}, func(t *testing.T, s served) {
		store, err := content.Open(t.TempDir(), 1<<62)
		if err != nil {
			t.Fatal(err)
		}
		var full *content.SpaceError
		if err := newFetcher(t, s.url, store).Blob(t.Context(), component, digest, 1000, nil); !errors.As(err, &full) {
			t.Errorf("got %v", err)
		}
		if asked := s.offsets(); len(asked) > 0 {
			t.Errorf("downloaded onto a full disk: %v", asked)
		}
	})
}

func TestMalformedNames(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:80", "ftp://127.0.0.1", "coap://"} {
		if _, err := New(Config{URL: url}); err == nil {
			t.Errorf("URL %q is accepted", url)
		}
	}
	f := newFetcher(t, "http://127.0.0.1:1", openStore(t, t.TempDir()))
	_, d := randomBlob(1)
	_, manifestErr := f.Manifest(t.Context(), component, "../../../etc")
	_, checkErr := f.Check(t.Context(), "nothing", "", Platform{})
	_, namedErr := f.Named(t.Context(), "../x")
	for _, err := range []error{manifestErr, checkErr, namedErr, f.Blob(t.Context(), "a/b/c", d, 1, nil), f.Blob(t.Context(), component, "x y", 1, nil)} {
		if err == nil || errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v", err)
		}
	}
}
