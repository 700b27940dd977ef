package hub_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// peerHost is an address of loopback that no other test uses: Azure's SDKs know no other ports than 443 and 8883.
const peerHost = "127.82.7.1"

// TestAzureSDK has Azure's own SDKs, for devices and for services, use the hub as they are.
func TestAzureSDK(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("node")
	if _, missing := os.Stat("testdata/peers/node_modules/azure-iothub"); err != nil || missing != nil {
		t.Skip("######## node or Azure's SDKs from npm are missing: NOT TESTED against them. Run make deps. ########")
	}
	if l, err := net.Listen("tcp", peerHost+":443"); err != nil {
		t.Skip("######## port 443 cannot be had: NOT TESTED against Azure's SDKs, which know no other. ########")
	} else {
		l.Close()
	}
	dir := t.TempDir()
	ca := issue(t, "CA", nil, time.Now().Add(time.Hour))
	roots, _ := storePEM(t, dir, ca)
	own := issue(t, "localhost", &ca, time.Now().Add(time.Hour))
	deviceCert, deviceKey := storePEM(t, dir, issue(t, "certified", &ca, time.Now().Add(time.Hour)))
	h := startWith(t, openStore(t, t.TempDir()), hub.Config{
		MQTT: peerHost + ":8883", HTTP: peerHost + ":443", TLS: &tls.Config{Certificates: []tls.Certificate{own}}, DeviceRoots: roots,
	})
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	h.owner.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	t.Cleanup(h.owner.HTTP.CloseIdleConnections)
	cs := h.owner.ConnectionString
	cs.HostName = peerHost
	script, err := filepath.Abs("testdata/peers/peers.js")
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), program, script, peerHost, cs.String(), deviceCert, deviceKey)
	node.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+roots)
	node.Stdout, node.Stderr = t.Output(), t.Output()
	if err := node.Run(); err != nil {
		t.Fatal(err)
	}
	var bodies []string
	for event := range h.follow(t, "message", "") {
		if event.Type != iothub.EventTelemetry {
			continue
		}
		var body iothub.Telemetry
		if err := json.Unmarshal(event.Body, &body); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(body.Payload))
		if len(bodies) == 1 {
			system := body.SystemProperties
			want := []string{"no & yes", "application/json", "utf-8", "event-1", "message"}
			got := []string{body.Properties["alarm"], system["content-type"], system["content-encoding"], system["message-id"], system["iothub-connection-device-id"]}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		if len(bodies) == 3 {
			break
		}
	}
	if got := strings.Join(bodies, " "); got != `{"temperature":21} one two` {
		t.Error(got)
	}
}
