package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// TestSecure fetches a file over DTLS, from the start and from the middle.
func TestSecure(t *testing.T) {
	key := bytes.Repeat([]byte{5}, 16)
	body := make([]byte, 100_000)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(body)
	files := &coapServer{content: map[string][]byte{"/packages/x?": body, "/packages/x": body}}
	server, err := coap.ListenDatagrams("coaps://127.0.0.1:0", coap.PSKs(func(string) ([]byte, error) { return key, nil }))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(ctx, 2, func(_ netip.Addr, datagram []byte) []byte {
			req := message.Message{Options: make(message.Options, 0, 16)}
			if _, err := coder.DefaultCoder.Decode(datagram, &req); err != nil {
				return nil
			}
			return files.answer(req)
		})
	}()
	defer func() {
		cancel()
		if err := errors.Join(<-ended, server.Close()); err != nil {
			t.Error(err)
		}
	}()
	cfg := Config{Secure: func(ctx context.Context, conn net.Conn, host string) (net.Conn, error) {
		return coap.Secure(ctx, conn, host, coap.PSK("device-1", key))
	}}
	r, err := NewRemote("coaps://"+server.Addr().String()+"/packages/x", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f := r.File(t.Context())
	defer f.Close()
	for _, from := range []int64{0, 70_001} {
		if _, err := f.Seek(from, 0); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(body)-int(from))
		if n, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, body[from:]) {
			t.Fatalf("from %d: %d bytes, %v", from, n, err)
		}
	}
	if _, err := NewRemote("coaps://192.0.2.1/packages/x", Config{}); !errors.Is(err, ErrScheme) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := New(Config{URL: "coaps://192.0.2.1"}); err == nil || !strings.Contains(err.Error(), "no key for coaps") {
		t.Errorf("without a key: %v", err)
	}
}
