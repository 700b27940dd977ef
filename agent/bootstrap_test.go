package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
	"github.com/tranquil-iot/tranquil/sdk/settings"
)

var quietLog = slog.New(slog.DiscardHandler)

// serveUntil runs a server until the test, or stop, ends it.
func serveUntil(t *testing.T, conn *coap.Conn, run func(context.Context, lwm2m.Transport) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, conn) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, conn.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// startManagement runs a management server that knows one device by its key; it
// tells whom it has registered.
func startManagement(t *testing.T, key []byte) (account lwm2m.Account, registered chan lwm2m.Registration, stop func()) {
	t.Helper()
	conn, err := coap.Listen("coaps://127.0.0.1:0", coap.PSKs(func(identity string) ([]byte, error) {
		if identity != "device-1" {
			return nil, errors.New("unknown")
		}
		return key, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	registered = make(chan lwm2m.Registration, 10)
	server := lwm2m.NewServer(lwm2m.ServerConfig{Model: objects.Model(), OnEvent: func(e lwm2m.Event) {
		if e.Kind == lwm2m.Registered {
			registered <- e.Registration
		}
	}})
	stop = serveUntil(t, conn, server.Run)
	return lwm2m.Account{
		URI: "coaps://" + conn.LocalAddr().String(), Mode: lwm2m.SecurityPSK, Identity: []byte("device-1"), SecretKey: key, ShortID: 7, Lifetime: 90 * time.Second,
	}, registered, stop
}

// TestBootstrap starts an agent that knows a bootstrap server only: it gets its
// server and its key, and registers; it does so after a restart without the
// bootstrap server; and it gets another server when the first is gone.
func TestBootstrap(t *testing.T) {
	first, registered, stopFirst := startManagement(t, bytes.Repeat([]byte{1}, 16))
	var mu sync.Mutex
	given := first
	factory, err := coap.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := factory.LocalAddr().String()
	provide := func(conn *coap.Conn) func() {
		server := lwm2m.NewBootstrapServer(lwm2m.BootstrapServerConfig{Provision: func(context.Context, string) ([]lwm2m.Record, error) {
			mu.Lock()
			defer mu.Unlock()
			return given.Records(0), nil
		}})
		return serveUntil(t, conn, server.Run)
	}
	stopFactory := provide(factory)
	run1, err := os.MkdirTemp("", "tq-") // a short path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(run1)
	c := config{
		Endpoint: "device-1", Data: t.TempDir(), Run: run1, Reserve: 1,
		LwM2M: lwm2mConfig{Bootstrap: "coap://" + address, BootstrapAfter: settings.Duration(2 * time.Second), Lifetime: settings.Duration(time.Minute)},
		Files: filesConfig{URL: "coap://127.0.0.1:1"},
	}
	start := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, c, quietLog, nil) }()
		stop = sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(stop)
		return stop
	}
	comes := func(where chan lwm2m.Registration) {
		t.Helper()
		select {
		case r := <-where:
			if r.Identity != "device-1" || r.Lifetime != 90*time.Second {
				t.Errorf("registered as %q for %v", r.Identity, r.Lifetime)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("the device does not register")
		}
	}
	stop := start()
	comes(registered)
	stop()
	if info, err := os.Stat(filepath.Join(c.Data, "account.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the account is kept with %v: %v", info, err)
	}
	stopFactory()
	start()
	comes(registered)

	second, elsewhere, _ := startManagement(t, bytes.Repeat([]byte{2}, 16))
	mu.Lock()
	given = second
	mu.Unlock()
	stopFirst()
	factory, err = coap.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	provide(factory)
	comes(elsewhere)
}
