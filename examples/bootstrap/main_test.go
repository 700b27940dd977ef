package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// TestBootstrap has a device ask with its factory key: it is given the hub's. One
// that the hub does not know is refused.
func TestBootstrap(t *testing.T) {
	made := bytes.Repeat([]byte{1}, 16)
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/devices/greenhouse" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"deviceId":"greenhouse","authentication":{"symmetricKey":{"primaryKey":%q}}}`, base64.StdEncoding.EncodeToString(made))
	}))
	defer hub.Close()
	dir, old := t.TempDir(), bytes.Repeat([]byte{2}, 16)
	for _, id := range []string{"greenhouse", "stranger"} {
		if err := os.WriteFile(filepath.Join(dir, id+".psk"), []byte(base64.StdEncoding.EncodeToString(old)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client := iothub.NewClient(iothub.ConnectionString{HostName: strings.TrimPrefix(hub.URL, "http://"), PolicyName: "registryReadWrite", Key: "c2VjcmV0", Insecure: true})
	socket, err := coap.Listen("coaps://127.0.0.1:0", coap.PSKs(factory(dir).find))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	o := office{hub: client, server: "coaps://192.0.2.1:5684", lifetime: time.Hour}
	server := lwm2m.NewBootstrapServer(lwm2m.BootstrapServerConfig{Provision: o.provision, OnDone: done})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, socket) }()
	defer func() { cancel(); <-ended }()
	ask := func(id string) ([]lwm2m.Record, error) {
		address := "coaps://" + socket.LocalAddr().String()
		conn, err := coap.Dial(address, coap.PSK(id, old))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return lwm2m.Bootstrap(ctx, conn, lwm2m.BootstrapConfig{Endpoint: id, Server: address})
	}
	records, err := ask("greenhouse")
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := lwm2m.ParseAccounts(records)
	if err != nil || len(accounts) != 1 || accounts[0].URI != o.server || !bytes.Equal(accounts[0].SecretKey, made) {
		t.Errorf("got %v, %v", accounts, err)
	}
	if _, err := ask("stranger"); err == nil || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("a device that the hub does not know: %v", err)
	}
}

func TestFactory(t *testing.T) {
	for _, name := range []string{"", "../x", "a/b", "none"} {
		if key, err := factory(t.TempDir()).find(name); err == nil {
			t.Errorf("%q has the key %x", name, key)
		}
	}
}
