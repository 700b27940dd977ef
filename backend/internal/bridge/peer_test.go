package bridge

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestCoapNodeIsUpdated updates a device that was made with coap-node, a client of
// others, by object 5: there and back.
func TestCoapNodeIsUpdated(t *testing.T) {
	peers, err := filepath.Abs("../../../sdk/lwm2m/coap/testdata/peers/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("node")
	if _, missing := os.Stat(filepath.Join(peers, "coap-node")); err != nil || missing != nil {
		t.Skip("######## node or the LwM2M libraries from npm are missing: NOT TESTED against them. Run make deps. ########")
	}
	y := newYard(t, quietly)
	for _, version := range []string{"1.0.0", "2.0.0"} {
		y.publish(t, gadgetFirmware, version, 100_000, "")
	}
	create(t, y.service, "gadget")
	_, port, err := net.SplitHostPort(y.bridge.Addr())
	if err != nil {
		t.Fatal(err)
	}
	node := exec.Command(program, filepath.Join("testdata", "device.js"), port)
	node.Env = append(os.Environ(), "NODE_PATH="+peers)
	node.Stdout, node.Stderr = t.Output(), t.Output()
	stdin, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close() // it ends then
		_ = node.Wait()
	}()
	eventually(t, "the gadget", func() any { return y.reported("gadget", "components") }, func(v any) bool {
		c, _ := v.(map[string]any)
		return c[gadgetFirmware] != nil
	})
	last := ""
	for _, step := range []struct{ version, kind string }{{"2.0.0", "update"}, {"1.0.0", "rollback"}} {
		y.desire(t, "gadget", gadgetFirmware, map[string]any{"version": step.version})
		o := y.outcome(t, "gadget", gadgetFirmware, last)
		if o["result"] != "updated" || o["kind"] != step.kind {
			t.Errorf("ended with %v", o)
		}
		eventually(t, "its version", func() any { return y.reported("gadget", "components", gadgetFirmware, "version") }, is(step.version))
		last, _ = o["id"].(string)
	}
}
