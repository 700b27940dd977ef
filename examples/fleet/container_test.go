package fleet

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// sensorContainer is the sensor adapter in a container.
const sensorContainer = "container/sensor-adapter"

// TestContainer: what is true of an application is true of a container: its
// state is transformed, no reading is lost or made twice, it is asked to come to
// rest, and a version that is never healthy turns back.
func TestContainer(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"lxc", "oci"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			needEngine(t, engine)
			dir := t.TempDir()
			c := contained{T: t}
			t.Cleanup(func() { c.eachProcess(func(pid int, _ string) { syscall.Kill(pid, syscall.SIGKILL) }) }) // runc's survive their supervisors
			var err error
			c.System, err = rig.Start(t.Context(), built, dir, containers(t, dir))
			s := c.System
			attend(t, s, err)
			with := append([]rig.Edit{rig.Replace("[settings]\n", "[settings]\nengine = \""+engine+"\"\n")}, quick...)
			c.put("container-1.0.0", with...)
			c.put("container-2.0.0", with...)
			c.put("container-2.0.0", append(with, rig.Replace(`version = "2.0.0"`, `version = "3.0.0"`), rig.Replace(`["/sensor-adapter"]`, `["/sensor-adapter", "-sick"]`),
				rig.Replace("[probe]\n", "[probe]\ndeadline = \"1s\"\n"))...)
			c.ask("1.0.0", "updated", "1.0.0")
			before := c.audit(1)
			c.ask("2.0.0", "updated", "2.0.0")
			after := c.audit(2)
			if before.Digest(before.Count()) != after.Digest(before.Count()) || after.Count() <= before.Count() {
				t.Errorf("readings were lost or changed: %v became %v", before, after)
			}
			r, err := s.Await(t.Context(), "a reading in kelvin", rig.UpdateTime, func(r rig.Reported) bool {
				return r.LwM2M["3303"]["0"]["5701"].Value == "K"
			})
			if err != nil {
				t.Error(err)
			}
			if o := r.Components[sensorContainer].Outcome; o.Rest != "tranquil" {
				t.Errorf("it came to rest %s: %s", o.Rest, o.RestReason)
			}
			c.ask("3.0.0", "turned back", "2.0.0")
			again := c.audit(2)
			if after.Digest(after.Count()) != again.Digest(after.Count()) {
				t.Errorf("readings were lost or changed: %v became %v", after, again)
			}
			cli(t, s, "remove", s.Device, sensorContainer, "--yes", "--wait")
			if got := c.running(); got != "" {
				t.Errorf("%s runs although it was removed", got)
			}
		})
	}
}

func needEngine(t *testing.T, engine string) {
	t.Helper()
	tool := map[string]string{"lxc": "lxc-start", "oci": "runc"}[engine]
	if _, err := exec.LookPath(tool); err != nil || os.Geteuid() != 0 {
		t.Skipf("NOT TESTED: it needs root and %s (make deps)", tool)
	}
}

// containers gives the agent of a system in dir an updater for containers, and a
// component.
func containers(t *testing.T, dir string) rig.Edit {
	path := filepath.Join(dir, "bin", "tranquil-updater-container")
	sum, err := updater.Checksum(built.Program(filepath.Base(path)))
	if err != nil {
		t.Fatal(err)
	}
	return func(config string) string {
		config = strings.Replace(config, `components = [`, fmt.Sprintf("components = [%q, ", sensorContainer), 1)
		return config + fmt.Sprintf("\n[[updater]]\ntype = \"container\"\npath = %q\nsha256 = %q\n", path, sum)
	}
}

// contained is a system with a container.
type contained struct {
	*testing.T
	*rig.System
}

func (c contained) put(version string, edits ...rig.Edit) {
	c.Helper()
	file, err := c.Package(c.Context(), version, edits...)
	if err == nil {
		err = c.Push(c.Context(), file)
	}
	if err != nil {
		c.Fatal(err)
	}
}

// ask wishes for a version, and checks how that ends and what is installed then.
func (c contained) ask(version, result, installed string) {
	c.Helper()
	if err := c.Wish(c.Context(), sensorContainer, fmt.Sprintf(`{"version": %q}`, version)); err != nil {
		c.Fatal(err)
	}
	r, err := c.Await(c.Context(), "the update has ended", rig.UpdateTime, func(r rig.Reported) bool {
		u := r.Components[sensorContainer].Update
		return u.To == version && u.Result != ""
	})
	if got := r.Components[sensorContainer]; err != nil || got.Update.Result != result || got.Version != installed || !got.Running {
		c.Fatalf("asked for %s: %+v, %v", version, got, err)
	}
	if running := c.running(); running != installed {
		c.Fatalf("asked for %s: %q runs, want %s", version, running, installed)
	}
}

// running returns the version that runs.
func (c contained) running() (versions string) {
	c.eachProcess(func(_ int, version string) { versions += version })
	return versions
}

// eachProcess finds the component's processes: those that have its environment,
// and one of its root file systems.
func (c contained) eachProcess(do func(pid int, version string)) {
	processes, _ := filepath.Glob("/proc/[0-9]*") // no further: that would list each of these directories
	for _, process := range processes {
		env, _ := os.ReadFile(process + "/environ")
		if !bytes.Contains(env, []byte("TRANQUIL_COMPONENT="+sensorContainer+"\x00")) {
			continue
		}
		root, err := os.Stat(process + "/root")
		for _, dir := range c.glob("versions", "*", "files", "rootfs") {
			if own, e := os.Stat(dir); err == nil && e == nil && os.SameFile(root, own) {
				_, rest, _ := bytes.Cut(env, []byte("TRANQUIL_VERSION="))
				version, _, _ := bytes.Cut(rest, []byte{0})
				pid, _ := strconv.Atoi(filepath.Base(process))
				do(pid, string(version))
			}
		}
	}
}

func (c contained) glob(elem ...string) []string {
	if c.System == nil {
		return nil
	}
	found, _ := filepath.Glob(filepath.Join(append([]string{c.Dir, "agent", "updater", sensorContainer}, elem...)...))
	return found
}

// audit verifies the state, on the device.
func (c contained) audit(schema int) audit.Report {
	c.Helper()
	report, err := audit.Dir(c.glob("state")[0])
	if err != nil || report.Schema != schema {
		c.Fatalf("state %v: %v", report, err)
	}
	return report
}
