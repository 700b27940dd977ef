package fleet

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

// micaContainer is the container of a MICA that is updated.
const micaContainer = "container/java8"

const micaRecipe = `type = "container"
name = "java8"
version = "%[1]d.0.0"
maxDowntime = "5m"

[probe]
probation = "200ms"

[state]
schema = %[1]d

[settings]
state = "/var/lib/app"
grace = "5s"

[[artifact]]
path = "java8.tar"
os = "linux"
`

const micaTransforms = `
[[transform]]
from = 1
to = 2
module = "transform.wasm"
files = ["history/*.json", "total.json", "calibration.json"]
format = "json"

[[transform]]
from = 2
to = 1
module = "transform.wasm"
files = ["history/*.json", "total.json", "calibration.json"]
format = "json"
`

// micaInit is the first process of a MICA's container, which is asked to end as
// such are.
const micaInit = `#!/bin/busybox sh
TRANQUIL_STATE=/var/lib/app /app & app=$!
trap 'kill $app; wait $app; exit 0' PWR TERM
wait $app
`

// TestMica is the thesis' own validation: a container of a MICA is updated from the
// twin by a push, over JSON-RPC to its Base OS. The Base OS is a stand-in, the
// container is real, and so is its state.
func TestMica(t *testing.T) {
	t.Parallel()
	needEngine(t, "lxc")
	dir := t.TempDir()
	base := filepath.Join(t.TempDir(), "base")
	startMica(t, base, filepath.Join(dir, "agent", "updater", "container"))
	s, err := rig.Start(t.Context(), built, dir, containers(t, dir), rig.Replace(sensorContainer, micaContainer))
	attend(t, s, err)
	for version := range 2 {
		putMica(t, s, version+1)
	}
	before := micaAudit(t, s, base, 1)
	after := micaAudit(t, s, base, 2)
	if before.Digest(before.Count()) != after.Digest(before.Count()) || after.Count() <= before.Count() {
		t.Errorf("readings were lost or changed: %v became %v", before, after)
	}
}

// startMica starts the Base OS and configures the updater for it.
func startMica(t *testing.T, data, updater string) {
	t.Helper()
	p := exec.Command(built.Program("mica-base"), "-data", data, "-password", "sesame")
	p.Stderr = t.Output()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Signal(syscall.SIGTERM); p.Wait() })
	endpoint := filepath.Join(data, "endpoint.json")
	eventually(t, "the Base OS listens", func() bool { _, err := os.Stat(endpoint); return err == nil })
	var config map[string]string
	text, err := os.ReadFile(endpoint)
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	password := filepath.Join(data, "password")
	config["user"], config["passwordFile"] = "admin", password
	text, errText := json.Marshal(config)
	err = errors.Join(err, errText, os.MkdirAll(updater, 0o700),
		os.WriteFile(password, []byte("sesame"), 0o600), os.WriteFile(filepath.Join(updater, "mica.json"), text, 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

// putMica packs a version of the sensor adapter as an image for a MICA.
func putMica(t *testing.T, s *rig.System, version int) {
	t.Helper()
	dir := t.TempDir()
	recipe := fmt.Sprintf(micaRecipe, version)
	if version > 1 {
		recipe += micaTransforms
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("NOT TESTED: it needs busybox (make deps)")
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	for name, from := range map[string]string{"bin/busybox": busybox, "app": built.Program(fmt.Sprintf("sensor-adapter-%d", version)), "sbin/init": ""} {
		content := []byte(micaInit)
		if from != "" {
			if content, err = os.ReadFile(from); err != nil {
				t.Fatal(err)
			}
		}
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(content))}))
		_, errWrite := w.Write(content)
		err = errors.Join(err, errWrite)
	}
	module, errModule := os.ReadFile(built.Program("transform.wasm"))
	err = errors.Join(err, errModule, w.Close(), os.WriteFile(filepath.Join(dir, "java8.tar"), image.Bytes(), 0o600),
		os.WriteFile(filepath.Join(dir, "transform.wasm"), module, 0o600), os.WriteFile(filepath.Join(dir, "tranquil.toml"), []byte(recipe), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.CLI(t.Context(), "package", "build", dir, "-o", dir)
	if err == nil {
		file, _, _ := strings.Cut(out, "\n")
		err = s.Push(t.Context(), file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// micaAudit pushes a version as the thesis does, and verifies the state in the one
// container that runs then.
func micaAudit(t *testing.T, s *rig.System, base string, version int) audit.Report {
	t.Helper()
	want := fmt.Sprintf("%d.0.0", version)
	push := fmt.Sprintf(`{"update": {"type": "Push", "component": "container", "componentName": "java8", "version": %q}}`, want)
	if err := s.Desire(t.Context(), push); err != nil {
		t.Fatal(err)
	}
	r, err := s.Await(t.Context(), "the update has ended", rig.UpdateTime, func(r rig.Reported) bool {
		u := r.Components[micaContainer].Update
		return u.To == want && u.Result != ""
	})
	if c := r.Components[micaContainer]; err != nil || c.Update.Result != "updated" || c.Version != want || !c.Running {
		t.Fatalf("asked for %s: %+v, %v", want, c, err)
	}
	state, _ := filepath.Glob(filepath.Join(base, "containers", fmt.Sprintf("java8.%d_0_0-*", version), "rootfs", "var", "lib", "app"))
	if len(state) != 1 {
		t.Fatalf("states of version %s: %v", want, state)
	}
	report, err := audit.Dir(state[0])
	if err != nil || report.Schema != version {
		t.Fatalf("state %v: %v", report, err)
	}
	return report
}
