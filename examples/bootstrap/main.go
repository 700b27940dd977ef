// Command bootstrap is a small LwM2M bootstrap server. A device proves itself to it
// with the key that it got in the factory, and hears which server it belongs to,
// with the key that the hub has made for it: so devices can leave the factory
// before anybody knows where they will go.
//
//	bootstrap -listen coaps://0.0.0.0:5694 -factory keys -server coaps://bridge.example.org:5684
//
// TRANQUIL_HUB is a connection string that may see the keys of devices.
package main

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

func main() {
	listen := flag.String("listen", "coaps://127.0.0.1:5694", "address for devices")
	dir := flag.String("factory", "keys", "directory with a file ID.psk for each device: its factory key, base64")
	server := flag.String("server", "coaps://127.0.0.1:5684", "address of the LwM2M server, as devices reach it")
	lifetime := flag.Duration("lifetime", 5*time.Minute, "of their registrations")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, *listen, factory(*dir), *server, *lifetime); err != nil {
		fmt.Fprintln(os.Stderr, "bootstrap:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen string, keys factory, server string, lifetime time.Duration) error {
	connection, err := iothub.ParseConnectionString(os.Getenv("TRANQUIL_HUB"))
	if err != nil {
		return fmt.Errorf("cannot use TRANQUIL_HUB: %w", err)
	}
	socket, err := coap.Listen(listen, coap.PSKs(keys.find))
	if err != nil {
		return err
	}
	defer socket.Close()
	o := office{hub: iothub.NewClient(connection), server: server, lifetime: lifetime}
	slog.Info("waiting for devices", "address", socket.LocalAddr().String())
	return lwm2m.NewBootstrapServer(lwm2m.BootstrapServerConfig{Provision: o.provision, OnDone: done}).Run(ctx, socket)
}

// A factory is a directory with the keys that devices left the factory with.
type factory string

// find is the key of the device that has this identity.
func (f factory) find(identity string) ([]byte, error) {
	if identity == "" || strings.ContainsAny(identity, `/\`) {
		return nil, fmt.Errorf("%q is no name of a device", identity)
	}
	text, err := os.ReadFile(filepath.Join(string(f), identity+".psk"))
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
}

// An office knows where devices belong.
type office struct {
	hub      *iothub.Client
	server   string
	lifetime time.Duration
}

// provision is what a device shall have: one account.
func (o office) provision(ctx context.Context, endpoint string) ([]lwm2m.Record, error) {
	device, err := o.hub.Device(ctx, endpoint)
	if iothub.IsNotFound(err) {
		return nil, lwm2m.Errorf(lwm2m.CodeForbidden, "the hub has no such device yet")
	}
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(device.Authentication.SymmetricKey.PrimaryKey)
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("the hub shows no key of %s: give a policy that may see keys: %v", endpoint, err)
	}
	return lwm2m.Account{
		URI: o.server, Mode: lwm2m.SecurityPSK, Identity: []byte(endpoint), SecretKey: key, ShortID: 1, Lifetime: o.lifetime,
	}.Records(0), nil
}

func done(endpoint string, err error) {
	if err != nil {
		slog.Warn("a device was not told its server", "device", endpoint, "error", err)
		return
	}
	slog.Info("a device knows its server now", "device", endpoint)
}
