package accounts

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// startServer runs a bootstrap server that gives accounts of these servers, one after
// the other; "" refuses.
func startServer(t *testing.T, uris ...string) (address string) {
	t.Helper()
	conn, err := coap.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := lwm2m.NewBootstrapServer(lwm2m.BootstrapServerConfig{Provision: func(context.Context, string) ([]lwm2m.Record, error) {
		uri := uris[0]
		if uris = uris[1:]; uri == "" {
			return nil, errors.New("not yet")
		}
		return lwm2m.Account{URI: uri, Mode: lwm2m.SecurityPSK, Identity: []byte("d"), SecretKey: []byte("0123456789abcdef"), ShortID: 3, Lifetime: time.Hour}.Records(0), nil
	}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, conn.Close()); err != nil {
			t.Error(err)
		}
	})
	return "coap://" + conn.LocalAddr().String()
}

// TestKeeper: a device without an account asks until it has one; one whose server is
// given up asks for another, and has to do with the old one if there is none; and what
// is kept survives, but for damage.
func TestKeeper(t *testing.T) {
	address := startServer(t, "", "coaps://first", "", "coaps://second", "coaps://third")
	k := Keeper{
		File: filepath.Join(t.TempDir(), "account.json"), Endpoint: "d", Server: address, Log: slog.New(slog.DiscardHandler),
		Dial: func() (lwm2m.Transport, error) { return coap.Dial(address) },
	}
	serves := func(want ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var got []string
		err := k.Run(ctx, func(ctx context.Context, a lwm2m.Account) error {
			if string(a.SecretKey) != "0123456789abcdef" || a.ShortID != 3 {
				t.Errorf("account %+v", a)
			}
			if got = append(got, a.URI); len(got) == len(want) {
				cancel()
			}
			return errors.New("given up")
		})
		if err != nil || len(got) != len(want) {
			t.Fatalf("%v, %v, want %v", got, err, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%v, want %v", got, want)
			}
		}
	}
	serves("coaps://first", "coaps://first", "coaps://second")
	serves("coaps://second")
	if err := os.WriteFile(k.File, []byte(`[{"n":`), 0o600); err != nil {
		t.Fatal(err)
	}
	serves("coaps://third")
}
