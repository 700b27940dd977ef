package hub_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// closed waits until the other side has ended a connection; what it said before is returned.
func closed(t *testing.T, conn net.Conn) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	said, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is still there")
	}
	return string(said)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestGivenUp: a request that its client gives up is no error of the hub's, and no success.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := startWith(t, openStore(t, t.TempDir()), hub.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	r.create(t, "dev1") // it serves
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/devices/query?api-version=2021-04-12", strings.NewReader(`{"query": "SELECT * FROM devices"}`))
	cs, err := r.ConnectionString(hub.PolicyService)
	if err != nil {
		t.Fatal(err)
	}
	token, err := iothub.SignToken(cs.HostName, cs.Key, cs.PolicyName, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", token)
	w := httptest.NewRecorder()
	r.Handler(nil).ServeHTTP(w, req)
	r.stop()
	if w.Code != http.StatusInternalServerError || strings.Contains(log.String(), "request failed") {
		t.Errorf("%d, %s", w.Code, log.String())
	}
}

// TestStrangers: who sends no CONNECT, half of one, or endless headers is sent away.
func TestStrangers(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	silent, slow, talkative := dial(t, r.MQTTAddr()), dial(t, r.MQTTAddr()), dial(t, r.HTTPAddr())
	io.WriteString(slow, "\x10\x20\x00\x04MQTT")
	go io.WriteString(talkative, "GET /healthz HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 64<<10))
	if said := closed(t, talkative); !strings.HasPrefix(said, "HTTP/1.1 431 ") {
		t.Errorf("long headers: %q", said)
	}
	closed(t, silent)
	closed(t, slow)
}
