package files

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// TestSecureCoAP serves what CoAP serves over DTLS, to devices that it knows.
func TestSecureCoAP(t *testing.T) {
	key := bytes.Repeat([]byte{5}, 16)
	s := start(t, t.TempDir(), func(c *Config) {
		c.CoAP, c.DTLS = "coaps://127.0.0.1:0", []coap.Option{coap.PSKs(func(identity string) ([]byte, error) {
			if identity != "device-1" {
				return nil, errors.New("unknown")
			}
			return key, nil
		})}
	})
	address, secure := strings.CutPrefix(s.CoAPAddr(), "coaps://")
	if _, err := netip.ParseAddrPort(address); !secure || err != nil {
		t.Fatal(s.CoAPAddr())
	}
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	session, err := coap.Secure(t.Context(), conn, "127.0.0.1", coap.PSK("device-1", key))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	c := &client{conn: session}
	if code, body := c.ask(t, "/trust/online.pub"); code != "2.05" || len(body) == 0 {
		t.Errorf("%s %s", code, body)
	}
	if code, _ := c.ask(t, "/packages/none"); !strings.HasPrefix(code, "4.0") {
		t.Error(code)
	}
	if _, err := New(Config{Dir: t.TempDir(), Trust: t.TempDir(), CoAP: "coaps://127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "PSKs") {
		t.Errorf("without anything to know devices by: %v", err)
	}
}

// TestCoAPOverTCP serves the same over TCP. Who asks too often is told so: nothing is
// sent again there.
func TestCoAPOverTCP(t *testing.T) {
	s := start(t, t.TempDir(), func(c *Config) { c.TCP = "coap+tcp://127.0.0.1:0" })
	address, tcp := strings.CutPrefix(s.TCPAddr(), "coap+tcp://")
	if !tcp {
		t.Fatal(s.TCPAddr())
	}
	conn, err := net.Dial("tcp", address)
	if err == nil {
		conn, err = coap.Framed(conn)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &client{conn: conn}
	for range 3 {
		if code, body := c.ask(t, "/trust/online.pub"); code != "2.05" || len(body) == 0 {
			t.Errorf("%s %s", code, body)
		}
	}
	if code, _ := c.ask(t, "/packages/none"); !strings.HasPrefix(code, "4.0") {
		t.Error(code)
	}
	r := newResponder(s.catalog, func(err error) { t.Error(err) })
	out := make([]byte, maxDatagram)
	if n := tooMany(r.worker(), encode(t, request("/check/a/b", 1, nil)), out); n < 4 || out[1] != 4<<5|29 {
		t.Errorf("to who asks too often: % x", out[:n])
	}
	for _, address := range []string{"coap+tcp://0.0.0.0:0", "coaps+tcp://127.0.0.1:0"} {
		if _, err := New(Config{Dir: t.TempDir(), Trust: t.TempDir(), TCP: address}); err == nil {
			t.Errorf("%s listens", address)
		}
	}
}
