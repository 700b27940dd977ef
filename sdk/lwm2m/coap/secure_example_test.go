package coap_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A device gets its account from a bootstrap server, then registers with the
// management server that the account names, over DTLS with the key in it.
func ExampleDial_bootstrap() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	key := []byte("0123456789abcdef")

	// The management server knows the key of "greenhouse".
	management, err := coap.Listen("coaps://127.0.0.1:0", coap.PSKs(func(identity string) ([]byte, error) {
		if identity != "greenhouse" {
			return nil, errors.New("unknown")
		}
		return key, nil
	}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer management.Close()
	registered := make(chan lwm2m.Registration, 1)
	server := lwm2m.NewServer(lwm2m.ServerConfig{Model: objects.Model(), OnEvent: func(e lwm2m.Event) {
		if e.Kind == lwm2m.Registered {
			registered <- e.Registration
		}
	}})
	running.Go(func() { _ = server.Run(ctx, management) })

	// The bootstrap server, here in plaintext on one machine, gives accounts.
	factory, err := coap.Listen("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer factory.Close()
	bootstrap := lwm2m.NewBootstrapServer(lwm2m.BootstrapServerConfig{
		Provision: func(_ context.Context, endpoint string) ([]lwm2m.Record, error) {
			return lwm2m.Account{
				URI: "coaps://" + management.LocalAddr().String(), Mode: lwm2m.SecurityPSK,
				Identity: []byte(endpoint), SecretKey: key, ShortID: 1, Lifetime: time.Hour,
			}.Records(0), nil
		},
	})
	running.Go(func() { _ = bootstrap.Run(ctx, factory) })

	// The device asks for its account, once.
	address := "coap://" + factory.LocalAddr().String()
	first, err := coap.Dial(address)
	if err != nil {
		fmt.Println(err)
		return
	}
	records, err := lwm2m.Bootstrap(ctx, first, lwm2m.BootstrapConfig{Endpoint: "greenhouse", Server: address})
	first.Close()
	if err != nil {
		fmt.Println(err)
		return
	}
	accounts, err := lwm2m.ParseAccounts(records) // a device keeps the records
	if err != nil {
		fmt.Println(err)
		return
	}
	account := accounts[0]

	// And registers.
	socket, err := coap.Dial(account.URI, coap.PSK(string(account.Identity), account.SecretKey))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer socket.Close()
	client, err := lwm2m.NewClient(lwm2m.ClientConfig{Endpoint: "greenhouse", Server: account.URI, Lifetime: account.Lifetime})
	if err != nil {
		fmt.Println(err)
		return
	}
	online, hangUp := context.WithCancel(ctx)
	var clientDone sync.WaitGroup
	clientDone.Go(func() { _ = client.Run(online, socket) })
	r := <-registered
	fmt.Println(r.Endpoint, "as", r.Identity, "for", r.Lifetime)
	hangUp()
	clientDone.Wait() // it says goodbye
	// Output: greenhouse as greenhouse for 1h0m0s
}
