package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGrants(t *testing.T) {
	file := filepath.Join(t.TempDir(), "containers.json")
	if g, err := readGrant(file, Type+"/a"); err != nil || g.Devices != nil {
		t.Errorf("without a file: %+v, %v", g, err)
	}
	for text, want := range map[string]string{
		`{`:                               "unexpected EOF",
		`{"container/a":{"mount":["/"]}}`: "unknown field",
		`{"container/a":{"devices":["/etc/passwd"]}}`:                        "no device node",
		`{"*":{"devices":["/dev/null"]}}`:                                    "can only say whether",
		`{"container/a":{"devices":["/dev/../etc/passwd"]}}`:                 "no device node",
		`{"container/a":{"devices":["/dev/a b"]}}`:                           "no device node",
		`{"container/a":{"network":{"host":true,"bridge":"br0"}}}`:           "choose either",
		`{"container/a":{"network":{"bridge":"br0\n"}}}`:                     "choose either",
		`{"container/a":{"network":{"address":"10.0.0.1/24"}}}`:              "needs a bridge",
		`{"container/a":{"network":{"bridge":"br0","address":"10.0.0.1"}}}`:  "network address",
		`{"container/a":{"network":{"bridge":"br0","gateway":"somewhere"}}}`: "network gateway",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readGrant(file, Type+"/a"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
	good := `{"container/a":{"network":{"bridge":"br0","address":"10.0.0.2/24"},"devices":["/dev/null"]}}`
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := readGrant(file, Type+"/a")
	if err != nil {
		t.Fatal(err)
	}
	devices, err := g.devices()
	if d := cmp.Diff([]Device{{"/dev/null", "c", 1, 3}}, devices); d != "" || err != nil {
		t.Error(d, err)
	}
	if other, err := readGrant(file, Type+"/b"); err != nil || other.Devices != nil || other.Network.Bridge != "" {
		t.Errorf("another one gets %+v, %v", other, err)
	}
	for _, missing := range []string{"/dev/no-such-device", "/dev/pts"} {
		if _, err := (Grant{Devices: []string{missing}}).devices(); err == nil {
			t.Errorf("%s is granted", missing)
		}
	}
}

// TestPrivileges: an operator forbids privileged containers, all or some, and
// whoever publishes packages does not.
func TestPrivileges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "containers.json")
	for text, allowed := range map[string]bool{
		`{}`:                                   true,
		`{"*":{"privileged":false}}`:           false,
		`{"*":{"privileged":true}}`:            true,
		`{"container/a":{"privileged":false}}`: false,
		`{"container/b":{"privileged":false}}`: true,
		`{"*":{"privileged":false},"container/a":{"privileged":true}}`:       true,
		`{"*":{"privileged":false},"container/a":{"devices":["/dev/null"]}}`: false,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := readGrant(file, Type+"/a")
		if err != nil {
			t.Fatal(err)
		}
		if err := g.admits(Box{}); (err == nil) != allowed {
			t.Errorf("%s: privileged: %v", text, err)
		}
		if err := g.admits(Box{Base: idBase}); err != nil {
			t.Errorf("%s: unprivileged: %v", text, err)
		}
	}
}
