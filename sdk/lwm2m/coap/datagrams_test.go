package coap_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// TestDatagrams: a device has two sessions at once, waits for answers no longer than
// it wants, and goes on after that; one with another key gets nowhere.
func TestDatagrams(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 16)
	server, err := coap.ListenDatagrams("coaps://127.0.0.1:0", coap.PSKs(func(identity string) ([]byte, error) {
		if identity != "device-1" {
			return nil, errors.New("unknown")
		}
		return key, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(deadline(t))
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(ctx, 2, func(from netip.Addr, b []byte) []byte {
			if !from.IsLoopback() || string(b) == "silence" {
				return nil
			}
			return append([]byte("re: "), b...)
		})
	}()
	defer func() {
		cancel()
		if err := errors.Join(<-ended, server.Close()); err != nil {
			t.Error(err)
		}
	}()
	dial := func(ctx context.Context, key []byte) (net.Conn, error) {
		conn, err := net.Dial("udp", server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return coap.Secure(ctx, conn, "127.0.0.1", coap.PSK("device-1", key))
	}
	first, err1 := dial(ctx, key)
	second, err2 := dial(ctx, key)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	defer first.Close()
	defer second.Close()
	b := make([]byte, 2000)
	for _, conn := range []net.Conn{first, second, first} {
		if _, err := conn.Write([]byte("silence")); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := conn.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Fatalf("no answer is %v", err)
			}
		}
		if _, err := conn.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if n, err := conn.Read(b); err != nil || string(b[:n]) != "re: hello" {
			t.Fatalf("%q, %v", b[:n], err)
		}
	}
	short, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	if _, err := dial(short, bytes.Repeat([]byte{8}, 16)); err == nil {
		t.Error("another key is taken")
	}
	if _, err := coap.ListenDatagrams("coap://127.0.0.1:0"); err == nil {
		t.Error("plaintext is no DTLS")
	}
}
