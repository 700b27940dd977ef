package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestDTLS has agent and backend speak DTLS, with the key that was made when the
// device was created: updates reach the device, also after the backend has lost
// the session; nobody writes the key into a log.
func TestDTLS(t *testing.T) {
	t.Parallel()
	system, err := rig.StartSecure(t.Context(), built, t.TempDir(), rig.Replace(`lifetime = "60s"`, `lifetime = "10s"`))
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, system.Dir)
		}
		system.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, system, "1.0.0", "2.0.0")
	update(t, system, "1.0.0")
	system.Backend.Kill()
	if err := system.StartBackend(t.Context()); err != nil {
		t.Fatal(err)
	}
	update(t, system, "2.0.0")

	key, err := os.ReadFile(filepath.Join(system.Dir, "psk"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"agent.log", "backend.log", "agent.toml"} {
		text, err := os.ReadFile(filepath.Join(system.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), strings.TrimSpace(string(key))) {
			t.Errorf("%s has the key of the device", name)
		}
	}
}
