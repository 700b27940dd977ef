package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/backend/internal/bridge"
)

func TestBridgeConfig(t *testing.T) {
	for name, test := range map[string]struct{ text, err string }{
		"defaults":         {"", ""},
		"limits":           {"max_devices = 5\nmax_lifetime = \"1h\"", ""},
		"no devices":       {"max_devices = 0", "backend.toml, line 2: bridge: max_devices: 0 is not above 0"},
		"a short lifetime": {"max_lifetime = \"5s\"", "line 2: bridge: max_lifetime: 5s is below 1m"},
		"no duration":      {"max_lifetime = \"long\"", "cannot read configuration: "},
		"tcp":              {"tcp = \"coap+tcp://127.0.0.1:0\"", ""},
		"tcp over UDP":     {"tcp = \"coaps://127.0.0.1:0\"", "no address such as coaps+tcp"},
		"an unknown key":   {"psk = \"x\"", "unknown key"},
	} {
		file := filepath.Join(t.TempDir(), "backend.toml")
		if err := os.WriteFile(file, []byte("[bridge]\n"+test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readConfig(file, "")
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: %v, want %q", name, err, test.err)
		}
	}
}

// TestSecureBridge: DTLS without anything to prove oneself with does not begin,
// and says what is missing.
func TestSecureBridge(t *testing.T) {
	for name, test := range map[string]struct {
		config bridgeConfig
		err    string
	}{
		"no keys":              {bridgeConfig{}, "needs the PSKs or the Certificate"},
		"a bad registry":       {bridgeConfig{Registry: "HostName=x"}, "cannot parse connection string"},
		"no certificate there": {bridgeConfig{Cert: "none.pem", Key: "none.key", Roots: "none.pem"}, "cannot read certificate"},
	} {
		cfg := bridge.Config{Listen: "coaps://127.0.0.1:0"}
		err := secure(&cfg, test.config)
		if err == nil {
			_, err = bridge.New(cfg)
		}
		if err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, want %q", name, err, test.err)
		}
	}
}

func TestFilesConfig(t *testing.T) {
	for name, test := range map[string]struct{ text, err string }{
		"bounds":       {"keep = 5\nquota = 1073741824\nhttp_rate = 50.0", ""},
		"a quota of -": {"quota = -1", "cannot be negative"},
		"keep of -":    {"keep = -1", "cannot be negative"},
		"a module":     {"online_key = \"pkcs11:object=online?module-path=/usr/lib/m.so\"", ""},
		"a key file":   {"online_key = \"/etc/online.key\"", "want pkcs11:"},
	} {
		file := filepath.Join(t.TempDir(), "backend.toml")
		if err := os.WriteFile(file, []byte("[files]\n"+test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readConfig(file, "")
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: %v, want %q", name, err, test.err)
		}
	}
}
