package fetch

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"

	"github.com/tranquil-iot/tranquil/sdk/trust"
	"github.com/tranquil-iot/tranquil/sdk/trust/trusttest"
)

// TestAttacks makes all attacks over all protocols.
func TestAttacks(t *testing.T) {
	over := func(listen func(*testing.T, *coapServer) string) func(*testing.T, *trusttest.World) trust.Fetch {
		return func(t *testing.T, w *trusttest.World) trust.Fetch {
			s := &coapServer{content: map[string][]byte{}}
			s.find = func(path string) ([]byte, bool) { return w.Get(strings.TrimPrefix(path, "/trust/")) }
			s.twist = func(block, *message.Message) bool { return !w.Silent() }
			return asking(t, w, listen(t, s))
		}
	}
	trusttest.Run(t,
		trusttest.Way{Name: "HTTP", Fetch: overHTTP},
		trusttest.Way{Name: "CoAP", Fetch: over(func(t *testing.T, s *coapServer) string { return "coap://" + s.start(t, "127.0.0.1:0") })},
		trusttest.Way{Name: "CoAP over TCP", Fetch: over(func(t *testing.T, s *coapServer) string { return "coap+tcp://" + s.startStream(t) })},
	)
}

func overHTTP(t *testing.T, w *trusttest.World) trust.Fetch {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, found := w.Get(path.Base(r.URL.Path))
		switch {
		case w.Silent():
			<-r.Context().Done()
		case !found:
			http.NotFound(rw, r)
		default:
			rw.Write(b)
		}
	}))
	t.Cleanup(s.Close)
	return asking(t, w, s.URL)
}

// asking waits long for a server that may be slow, and not for one that is
// silent.
func asking(t *testing.T, w *trusttest.World, url string) trust.Fetch {
	t.Helper()
	patient := newFetcher(t, url, nil)
	hasty, err := New(Config{URL: url, Patience: time.Millisecond, Stall: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hasty.Close)
	return func(ctx context.Context, name string, limit int64) ([]byte, error) {
		if w.Silent() {
			return hasty.Trust(ctx, name, limit)
		}
		return patient.Trust(ctx, name, limit)
	}
}
