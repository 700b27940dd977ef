package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fetchFrom downloads blob from a handler.
func fetchFrom(t *testing.T, patience time.Duration, h http.HandlerFunc, blob []byte, digest string) error {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	store := openStore(t, t.TempDir())
	f, err := New(Config{URL: srv.URL, Store: store, Patience: patience, Stall: patience / 2})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Blob(t.Context(), component, digest, int64(len(blob)), nil); err != nil {
		return err
	}
	checkBlob(t, store, digest, blob)
	return nil
}

// TestBrokenConnections has each connection break after 300 kB.
func TestBrokenConnections(t *testing.T) {
	blob, digest := randomBlob(1 << 20)
	for name, ranges := range map[string]bool{"ranges": true, "no ranges": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			err := fetchFrom(t, ample, func(w http.ResponseWriter, r *http.Request) {
				n := requests.Add(1)
				if !ranges {
					r.Header.Del("Range")
				}
				cut := &cutter{ResponseWriter: w, left: 300_000}
				if !ranges {
					cut.left *= int(n)
				}
				w.Header().Set("ETag", `"tag"`)
				http.ServeContent(cut, r, "", time.Time{}, bytes.NewReader(blob))
			}, blob, digest)
			if err != nil || requests.Load() < 4 {
				t.Errorf("%v after %d requests, want 4 or more", err, requests.Load())
			}
		})
	}
}

// A cutter breaks the connection after some bytes.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) > c.left {
		c.ResponseWriter.Write(b[:c.left])
		http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

func TestHTTPFaults(t *testing.T) {
	blob, digest := randomBlob(100_000)
	half := func(w http.ResponseWriter) {
		c := &cutter{ResponseWriter: w, left: len(blob) / 2}
		c.Write(blob)
	}
	tests := []struct {
		name   string
		handle func(n int32, w http.ResponseWriter, r *http.Request)
		want   error // nil: it succeeds in the end
	}{
		{"busy, then good", func(n int32, w http.ResponseWriter, _ *http.Request) {
			if n < 3 {
				http.Error(w, "busy", http.StatusServiceUnavailable)
				return
			}
			w.Write(blob)
		}, nil},
		{"never ends", func(_ int32, w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write([]byte("x"))
				http.NewResponseController(w).Flush()
			}
		}, ErrSize},
		{"silent", func(_ int32, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ErrUnreachable},
		{"silent after the head", func(_ int32, w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("x"))
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, ErrUnreachable},
		{"changes the content", func(n int32, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
			half(w)
		}, ErrChanged},
		{"another range", func(_ int32, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "" {
				half(w)
			}
			w.Header().Set("Content-Range", "bytes 7-99999/100000")
			w.WriteHeader(http.StatusPartialContent)
		}, ErrRefused},
		{"fewer bytes in all", func(_ int32, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "" {
				half(w)
			}
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		}, ErrSize},
		{"no content", func(_ int32, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, ErrSize},
		{"forbidden", func(_ int32, w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }, ErrRefused},
		{"redirects for ever", func(_ int32, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, ErrUnreachable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			err := fetchFrom(t, patience(test.want), func(w http.ResponseWriter, r *http.Request) { test.handle(requests.Add(1), w, r) }, blob, digest)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// TestTrickle sends a byte now and then: too slow to count as progress.
func TestTrickle(t *testing.T) {
	t.Parallel()
	blob, digest := randomBlob(100_000)
	err := fetchFrom(t, little, func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := 0; i < len(blob); i++ {
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
				w.Write(blob[i : i+1])
				http.NewResponseController(w).Flush()
			}
		}
	}, blob, digest)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "too slow") {
		t.Errorf("got %v", err)
	}
}

func TestParseContentRange(t *testing.T) {
	for s, want := range map[string]contentRange{
		"bytes 0-99/1234":               {0, 99, 1234},
		"Bytes 5-5/6":                   {5, 5, 6},
		"bytes 5-9/*":                   {5, 9, -1},
		"bytes 0-99/99":                 {},
		"bytes 9-5/99":                  {},
		"bytes */99":                    {},
		"bytes 0-9":                     {},
		"bits 0-9/10":                   {},
		"bytes -1-9/10":                 {},
		"bytes 0-+9/10":                 {},
		"bytes 0-9/9999999999999999999": {},
		"":                              {},
	} {
		got, err := parseContentRange(s)
		if (err != nil) != (want == contentRange{}) || err == nil && got != want {
			t.Errorf("%q: %s %v", s, cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)), err)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-99/1234", "bytes 5-9/*", "bytes */99", "", "bytes 0-9/9999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		cr, err := parseContentRange(s)
		if err == nil && (cr.first < 0 || cr.last < cr.first || cr.size >= 0 && cr.last >= cr.size) {
			t.Errorf("%q gives %+v", s, cr)
		}
	})
}
