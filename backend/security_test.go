package main

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/backend/internal/localca"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// TestSecureByDefault: what others on the network can reach speaks TLS, without being asked to, by an authority that can be
// trusted; what only this machine can reach need not.
func TestSecureByDefault(t *testing.T) {
	t.Parallel()
	r := startAt(t, config{
		Hub: hubConfig{MQTT: "0.0.0.0:0", HTTP: "0.0.0.0:0"}, Files: filesConfig{HTTP: "0.0.0.0:0"}, Web: webConfig{HTTPS: "127.0.0.1:0", Names: []string{"hub.example.org"}},
	})
	text, err := os.ReadFile(filepath.Join(r.config.Data, "endpoints.json"))
	var where endpoints
	if err != nil || json.Unmarshal(text, &where) != nil || where.Hub.CA == "" || where.Files.CA != where.Hub.CA || where.Web.CA != where.Hub.CA {
		t.Fatal(err, string(text))
	}
	trusting := &tls.Config{RootCAs: r.roots, ServerName: "hub.example.org"}
	for what, address := range map[string]string{"MQTT": where.Hub.MQTT, "REST": where.Hub.HTTP, "packages": where.Files.HTTP} {
		conn, err := tls.Dial("tcp", here(address), trusting)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		conn.Close()
		if _, err := tls.Dial("tcp", here(address), &tls.Config{}); err == nil {
			t.Errorf("%s is trusted by whoever trusts nobody", what)
		}
	}
	cs, err := iothub.ParseConnectionString(r.credentials.Owner)
	if err != nil || cs.Insecure || strings.HasPrefix(cs.HostName, "0.0.0.0") || strings.HasPrefix(cs.HostName, "[::]") {
		t.Error(cs, err)
	}
	cs.GatewayHostName = here(where.Hub.HTTP)
	client := iothub.NewClient(cs)
	client.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: trusting, DisableKeepAlives: true}}
	if _, err := client.Devices(t.Context()); err != nil {
		t.Error(err)
	}

	// The bridge of the process knows the hub, and nobody else.
	conn, err := tls.Dial("tcp", here(where.Hub.MQTT), r.beHub())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	other, err := localca.Open(t.TempDir(), "hub.example.org")
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", other.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			conn.(*tls.Conn).HandshakeContext(t.Context())
			conn.Close()
		}
	}()
	if _, err := tls.Dial("tcp", l.Addr().String(), r.beHub()); err == nil {
		t.Error("another hub is taken for ours")
	}
}

// TestPlaintext: loopback, or whoever asks for it.
func TestPlaintext(t *testing.T) {
	b := &backend{config: config{Data: t.TempDir()}}
	for what, test := range map[string]struct {
		insecure bool
		address  string
		secure   bool
	}{
		"loopback": {false, "127.0.0.1:1883", false}, "loopback, IPv6": {false, "[::1]:1883", false}, "by name": {false, "localhost:1883", false},
		"everywhere": {false, ":1883", true}, "everywhere, IPv6": {false, "[::]:1883", true}, "elsewhere": {false, "192.0.2.1:1883", true},
		"a name": {false, "hub.example.org:1883", true}, "asked for": {true, "0.0.0.0:1883", false}, "none": {false, "", false},
	} {
		security, ca, err := b.security("", "", test.insecure, "127.0.0.1:0", test.address)
		if err != nil || (security != nil) != test.secure || (ca != "") != test.secure {
			t.Errorf("%s: %v %s %v", what, security, ca, err)
		}
	}
	if _, _, err := b.security("none.pem", "none.key", false); err == nil {
		t.Error("a certificate that is not there")
	}
}
