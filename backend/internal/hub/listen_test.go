package hub_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
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
