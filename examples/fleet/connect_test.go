package fleet

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// TestTCP has agent and bridge speak CoAP over TCP, and over TLS with certificates;
// updates reach the device, also after the backend was killed.
func TestTCP(t *testing.T) {
	for name, start := range map[string]func(context.Context, rig.Built, string, ...rig.Edit) (*rig.System, error){
		"TCP": rig.StartTCP, "TLS": rig.StartTLS,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			system, err := start(t.Context(), built, t.TempDir(), rig.Replace(`lifetime = "60s"`, `lifetime = "10s"`))
			attend(t, system, err)
			put(t, system, "1.0.0", "2.0.0")
			update(t, system, "1.0.0")
			system.Backend.Kill()
			if err := system.StartBackend(t.Context()); err != nil {
				t.Fatal(err)
			}
			update(t, system, "2.0.0")
			compare(t, system)
		})
	}
}

// TestBootstrapServer starts a device that knows a bootstrap server only: it gets the
// bridge's address and its key from there, is updated, and after a restart needs the
// bootstrap server no more.
func TestBootstrapServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	address, stop := startBootstrap(t, dir)
	server := regexp.MustCompile(`(?m)^server = .*\npsk = .*$`)
	system, err := rig.StartSecure(t.Context(), built, dir, func(config string) string {
		return server.ReplaceAllLiteralString(config, `bootstrap = "coap://`+address+`"`)
	})
	attend(t, system, err)
	put(t, system, "1.0.0", "2.0.0")
	update(t, system, "1.0.0")
	stop()
	system.Agent.Kill()
	if err := system.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	update(t, system, "2.0.0")
}

// startBootstrap runs a bootstrap server that knows the bridge of the system in a
// directory, and the key of its device.
func startBootstrap(t *testing.T, dir string) (address string, stop func()) {
	t.Helper()
	conn, err := coap.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := lwm2m.NewBootstrapServer(lwm2m.BootstrapServerConfig{
		Provision: func(_ context.Context, endpoint string) ([]lwm2m.Record, error) {
			var at struct{ Bridge struct{ LwM2M string } }
			text, err := os.ReadFile(filepath.Join(dir, "backend", "endpoints.json"))
			if err == nil {
				err = json.Unmarshal(text, &at)
			}
			if err != nil {
				return nil, err
			}
			psk, err := os.ReadFile(filepath.Join(dir, "psk"))
			if err != nil {
				return nil, err
			}
			key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(psk)))
			return lwm2m.Account{
				URI: at.Bridge.LwM2M, Mode: lwm2m.SecurityPSK, Identity: []byte(endpoint), SecretKey: key, ShortID: 1, Lifetime: time.Minute,
			}.Records(0), err
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, conn) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		conn.Close()
	})
	t.Cleanup(stop)
	return conn.LocalAddr().String(), stop
}
