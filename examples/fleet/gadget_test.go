package fleet

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestAnyDeviceIsUpdated has a device of others updated, with the words that an
// operator has for any device: it was made with coap-node and knows object 5 only.
func TestAnyDeviceIsUpdated(t *testing.T) {
	t.Parallel()
	s := startWith(t, []rig.Edit{rig.OverHTTP}, "1.0.0")
	operator := func(arguments ...string) string {
		t.Helper()
		out, err := s.CLI(t.Context(), arguments...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	operator("device", "create", "gadget")
	startGadget(t, s)
	for _, version := range []string{"1.0.0", "2.0.0"} {
		dir := t.TempDir()
		recipe := "type = \"firmware\"\nname = \"gadget-3\"\nversion = \"" + version + "\"\n[[artifact]]\npath = \"image\"\nraw = true\n"
		for name, text := range map[string]string{"tranquil.toml": recipe, "image": version} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		operator("package", "build", dir, "-o", filepath.Join(dir, "package.tar"))
		operator("package", "push", filepath.Join(dir, "package.tar"), s.Files())
	}
	shows := func(what string) {
		t.Helper()
		if out := operator("device", "show", "gadget"); !strings.Contains(out, what) {
			t.Errorf("%q is not in\n%s", what, out)
		}
	}
	for _, step := range []struct{ version, shows string }{
		{"2.0.0", "to 2.0.0: updated"}, {"1.0.0", "rollback to 1.0.0: updated"},
	} {
		operator("update", "gadget", "firmware/gadget-3", step.version, "--wait")
		shows(step.version + ", running")
		shows(step.shows)
	}
	if out := operator("history", "gadget"); strings.Count(out, "updated") != 2 {
		t.Errorf("the history is\n%s", out)
	}
}

// startGadget starts the device, and waits until its twin has its version.
func startGadget(t *testing.T, s *rig.System) {
	t.Helper()
	peers, err := filepath.Abs("../../sdk/lwm2m/coap/testdata/peers/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("node")
	if _, missing := os.Stat(filepath.Join(peers, "coap-node")); err != nil || missing != nil {
		t.Skip("######## node or the LwM2M libraries from npm are missing: NOT TESTED against them. Run make deps. ########")
	}
	_, port, err := net.SplitHostPort(s.Bridge())
	if err != nil {
		t.Fatal(err)
	}
	node := exec.Command(program, filepath.Join("..", "..", "backend", "internal", "bridge", "testdata", "device.js"), port)
	node.Env = append(os.Environ(), "NODE_PATH="+peers)
	node.Stdout, node.Stderr = t.Output(), t.Output()
	stdin, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close() // it ends then
		_ = node.Wait()
	})
	comes(t, "the gadget in its twin", 1, func() int64 {
		out, err := s.CLI(t.Context(), "device", "show", "gadget")
		if err == nil && strings.Contains(out, "firmware/gadget-3") {
			return 1
		}
		return 0
	})
}
