package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/plugins/container/internal/container"
)

func box(t *testing.T) container.Box {
	return container.Box{
		Name: "web-01234567", Dir: t.TempDir(), Root: "/home/rootfs", Command: []string{"/bin/web", "-x", "a b"},
		Env: []string{"PATH=/bin", "A=b\nc"}, Cwd: "/srv", UID: 33, GID: 34, Halt: 15,
		Limits: container.Limits{Memory: 64 << 20, CPU: 0.5, PIDs: 64},
	}
}

// TestBundle: what matters of what runc is told.
func TestBundle(t *testing.T) {
	b := box(t)
	command, fresh, err := Engine{}.Command(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"runc", "--root", b.Dir + "/runc", "run", "--bundle", b.Dir, "web-01234567"}, command); d != "" {
		t.Error(d)
	}
	if len(fresh) != 3 || fresh[2] != b.Dir+"/runc/web-01234567" {
		t.Errorf("fresh is %v", fresh)
	}
	text, err := os.ReadFile(filepath.Join(b.Dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got spec
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(process{
		User: user{33, 34}, Args: b.Command, Env: b.Env, Cwd: "/srv",
		Capabilities: got.Process.Capabilities,
	}, got.Process); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(resources{
		Devices: []deviceRule{{Access: "rwm"}}, Memory: &memory{64 << 20}, CPU: &cpu{50_000, 100_000}, PIDs: &pids{64},
	}, got.Linux.Resources); d != "" {
		t.Error(d)
	}
	if got.Linux.CgroupsPath != "/tranquil/web-01234567/payload" || len(got.Linux.Namespaces) != 5 {
		t.Errorf("%+v", got.Linux)
	}
	for _, m := range got.Mounts {
		if m.Type == "bind" || strings.HasPrefix(m.Source, "/") {
			t.Errorf("it is told to mount %+v of the device", m)
		}
	}
	for _, name := range []string{"CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"} {
		if strings.Contains(string(text), name) {
			t.Errorf("it has %s", name)
		}
	}
}

// TestGrants: what the operator gives, and nothing else.
func TestGrants(t *testing.T) {
	b := box(t)
	b.Grant.Network.Host = true
	b.Devices = []container.Device{{Path: "/dev/ttyS0", Kind: "c", Major: 4, Minor: 64}}
	got := describe(b)
	major, minor := uint32(4), uint32(64)
	if d := cmp.Diff([]deviceRule{{Access: "rwm"}, {true, "c", &major, &minor, "rwm"}}, got.Linux.Resources.Devices); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]device{{"/dev/ttyS0", "c", 4, 64}}, got.Linux.Devices); d != "" {
		t.Error(d)
	}
	if len(got.Linux.Namespaces) != 4 {
		t.Errorf("namespaces %v", got.Linux.Namespaces)
	}
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*container.Box){
		"unprivileged": func(b *container.Box) { b.Base = 1 },
		"a bridge":     func(b *container.Box) { b.Grant.Network.Bridge = "br0" },
	} {
		b := box(t)
		change(&b)
		if err := (Engine{}).Check(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
