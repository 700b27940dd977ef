package fleet

import (
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

//go:embed testdata/device
var deviceFiles embed.FS

const firmware = "firmware/os"

// A device is one that boots: with an init, a system bus and RAUC, two slots that are
// files, and a boot loader that goes back from a slot that does not boot.
type device struct {
	*testing.T
	*rig.System
	dir string
}

// newDevice switches a device on, whose agent looks after an application and the firmware.
func newDevice(t *testing.T) *device {
	t.Helper()
	for _, tool := range []string{"rauc", "dbus-daemon", "mksquashfs", "openssl", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil || os.Geteuid() != 0 {
			t.Skipf("######## NOT TESTED: it needs root and %s (make deps) ########", tool)
		}
	}
	d := &device{T: t, dir: filepath.Join(t.TempDir(), "device")}
	d.must(os.MkdirAll(filepath.Join(d.dir, "mnt"), 0o700))
	d.must(os.Mkdir(filepath.Join(d.dir, "loader"), 0o700))
	entries, err := deviceFiles.ReadDir("testdata/device")
	d.must(err)
	for _, entry := range entries {
		text, err := deviceFiles.ReadFile("testdata/device/" + entry.Name())
		d.must(err)
		d.write(entry.Name(), strings.ReplaceAll(string(text), "DIR/", d.dir+"/"))
	}
	for name, text := range map[string]string{
		"loader/primary": "A\n", "loader/A": "good\n", "loader/B": "good\n", "A": pad("factory"), "B": pad(""),
		"firmware.json": `{"reboot": ["/bin/touch", "` + d.dir + `/reboot"]}`,
	} {
		d.write(name, text)
	}
	d.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=author", "-keyout", "author.key", "-out", "author.crt")
	updater := filepath.Join(d.dir, "tranquil-updater-firmware")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", updater, "../../plugins/firmware")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pin, err := exec.Command("sha256sum", updater).Output()
	d.must(err)
	needEngine(t, "oci")
	dir := t.TempDir()
	d.System, err = rig.StartOn(t.Context(), []string{"/bin/sh", filepath.Join(d.dir, "power.sh"), d.dir}, built, dir,
		rig.Replace(`components = ["application/sensor-adapter"]`, `components = ["application/sensor-adapter", "firmware/os"]`),
		func(config string) string {
			return config + fmt.Sprintf("\n[[updater]]\ntype = \"firmware\"\npath = %q\nsha256 = %q\n", updater, pin[:64])
		}, containers(t, dir))
	attend(t, d.System, err)
	return d
}

func (d *device) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *device) write(name, text string) {
	d.Helper()
	d.must(os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o700))
}

func (d *device) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(d.dir, name))
	first, _, _ := strings.Cut(string(text), "\n")
	return first
}

func (d *device) run(name string, args ...string) {
	d.Helper()
	cmd := exec.CommandContext(d.Context(), name, args...)
	cmd.Dir = d.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		d.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// runs is what the booted slot holds.
func (d *device) runs() string { return d.read(d.read("booted")) }

func (d *device) boots() int {
	text, _ := os.ReadFile(filepath.Join(d.dir, "boots"))
	return strings.Count(string(text), "\n")
}

// pad makes the content of a slot.
func pad(content string) string {
	return content + "\n" + strings.Repeat("\x00", 8<<10-len(content)-1)
}

const firmwareRecipe = `type = "firmware"
name = "os"
version = %q

[probe]
probation = "200ms"
deadline = "1m"

[[artifact]]
path = "os.raucb"
raw = true
os = "linux"
arch = %q
`

// publishFirmware makes a bundle of a content, and a package of that.
func (d *device) publishFirmware(version, content string) {
	d.Helper()
	dir := filepath.Join(d.dir, "package-"+version)
	d.must(os.MkdirAll(filepath.Join(dir, "bundle"), 0o700))
	rel := func(name string) string { return filepath.Join("package-"+version, name) }
	d.write(rel("bundle/rootfs.img"), pad(content))
	d.write(rel("bundle/manifest.raucm"), "[update]\ncompatible=test-device\nversion="+version+"\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=rootfs.img\n")
	d.run("rauc", "bundle", "--cert=author.crt", "--key=author.key", rel("bundle"), rel("os.raucb"))
	d.write(rel("tranquil.toml"), fmt.Sprintf(firmwareRecipe, version, built.Arch))
	out, err := d.CLI(d.Context(), "package", "build", dir, "-o", dir)
	d.must(err)
	file, _, _ := strings.Cut(out, "\n")
	d.must(d.Push(d.Context(), file))
}

// publish publishes a version of the sensor adapter, as an application or in a container,
// with more in its recipe.
func (d *device) publish(version, more string) {
	d.Helper()
	file, err := built.Package(d.Context(), d.dir, version, append(slices.Clone(quick),
		rig.Replace("name = \"sensor-adapter\"\n", "name = \"sensor-adapter\"\n"+more), rig.Replace("[settings]\ncommand = [\"/sensor", "[settings]\nengine = \"oci\"\ncommand = [\"/sensor"))...)
	d.must(err)
	d.must(d.Push(d.Context(), file))
}

// have asks for versions in one document, and waits until all of those updates have
// ended.
func (d *device) have(versions map[string]string) map[string]rig.Component {
	d.Helper()
	wishes := map[string]map[string]string{}
	for component, version := range versions {
		wishes[component] = map[string]string{"version": version}
	}
	text, err := json.Marshal(map[string]any{"components": wishes})
	d.must(err)
	d.must(d.Desire(d.Context(), string(text)))
	r, err := d.Await(d.Context(), "all updates have ended", rig.UpdateTime, func(r rig.Reported) bool {
		for component, version := range versions {
			if u := r.Components[component].Update; u.To != version || u.Result == "" {
				return false
			}
		}
		return true
	})
	d.must(err)
	if d.read("dead") != "" {
		d.Fatal("the device is dead: no slot can be booted")
	}
	return r.Components
}

// expect holds results, and what is installed, against what they should be.
func (d *device) expect(components map[string]rig.Component, result string, want map[string]string) {
	d.Helper()
	for component, version := range want {
		if c := components[component]; c.Update.Result != result || c.Version != version {
			d.Errorf("%s: %+v", component, c)
		}
	}
}

// TestDevice: one desired document brings firmware, application and container to new
// versions, of which one needs the other. The device boots the new slot, and what runs
// on it goes on with its state after the boot. Firmware that does not boot is left by the
// boot loader; it alone goes back, and what needs it stays as it is.
func TestDevice(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	c := contained{t, d.System}
	d.publish("1.0.0", "")
	d.publish("container-1.0.0", "")
	first := map[string]string{rig.SensorAdapter: "1.0.0", sensorContainer: "1.0.0"}
	d.expect(d.have(first), "updated", first)
	d.publish("2.0.0", "requires = { \"firmware/os\" = \">=2.0\" }\n")
	d.publish("container-2.0.0", "requires = { \"application/sensor-adapter\" = \">=2.0\" }\n")
	d.publishFirmware("2.0.0", "two")
	if d.boots() != 1 || d.runs() != "factory" {
		t.Fatalf("%d boots, it runs %s", d.boots(), d.runs())
	}
	second := map[string]string{rig.SensorAdapter: "2.0.0", sensorContainer: "2.0.0", firmware: "2.0.0"}
	d.expect(d.have(second), "updated", second)
	if d.boots() != 2 || d.runs() != "two" || c.running() != "2.0.0" {
		t.Errorf("%d boots, it runs %s and container %s", d.boots(), d.runs(), c.running())
	}
	before, _ := check(t, d.System)
	c.audit(2)

	d.publishFirmware("3.0.0", "broken")
	after := d.have(map[string]string{firmware: "3.0.0"})
	d.expect(after, "turned back", map[string]string{firmware: "2.0.0"})
	if cause := after[firmware].Update.Cause; d.runs() != "two" || !strings.Contains(cause, "the boot loader went back") {
		t.Errorf("it runs %s: %s", d.runs(), cause)
	}
	for begin := time.Now(); len(d.Components(rig.SensorAdapter)) != 1 || c.running() != "2.0.0"; time.Sleep(20 * time.Millisecond) { // the device has booted
		if time.Since(begin) > rig.UpdateTime {
			t.Fatal("application and container do not run after the boot")
		}
	}
	if now, _ := check(t, d.System); now.PID == before.PID && now.Started == before.Started {
		t.Error("the device has not booted")
	}
	c.audit(2)
}
