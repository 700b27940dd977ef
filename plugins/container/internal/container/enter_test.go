package container

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The test binary is also what enters containers.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == enterArg {
		os.Exit(Run(os.Args[1], os.Args[2]))
	}
	os.Exit(m.Run())
}

// TestEnter: the engine finds the mounts in the root file system, and nobody else
// ever does.
func TestEnter(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can mount")
	}
	dir, root, state, agent := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	b := Box{Dir: dir, Root: root, Mounts: []Mount{{Source: state, Target: "/var/lib/app"}, {agent, "/tranquil/agent", true}}}
	b.Run = []string{"sh", "-c", `cat "$0/var/lib/app/before" && echo after >"$0/var/lib/app/after" && ! touch "$0/tranquil/agent/x" 2>/dev/null && echo fine`, root}
	if err := errors.Join(os.WriteFile(filepath.Join(state, "before"), []byte("before\n"), 0o600), b.write()); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(os.Args[0], enterArg, dir).CombinedOutput()
	if string(out) != "before\nfine\n" || err != nil {
		t.Errorf("the engine says %q, %v", out, err)
	}
	if after, err := os.ReadFile(filepath.Join(state, "after")); string(after) != "after\n" || err != nil {
		t.Errorf("the state has %q, %v", after, err)
	}
	if left, err := os.ReadDir(filepath.Join(root, "var/lib/app")); len(left) > 0 || err != nil {
		t.Errorf("outside there is %v, %v", left, err)
	}
}

// TestEnterRefuses says why on standard error, which is the container's log.
func TestEnterRefuses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can mount")
	}
	for name, c := range map[string]struct {
		box  Box
		want string
	}{
		"no engine": {Box{Run: []string{"no-such-engine"}}, "no-such-engine"},
		"a link":    {Box{Run: []string{"true"}, Mounts: []Mount{{Source: t.TempDir(), Target: "/link"}}}, "symbolic link"},
		"no source": {Box{Run: []string{"true"}, Mounts: []Mount{{Source: "/no/such/source", Target: "/there"}}}, "cannot mount /there"},
	} {
		t.Run(name, func(t *testing.T) {
			c.box.Dir, c.box.Root = t.TempDir(), t.TempDir()
			if err := errors.Join(os.Symlink("/", filepath.Join(c.box.Root, "link")), c.box.write()); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(os.Args[0], enterArg, c.box.Dir).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "cannot enter the container") || !strings.Contains(string(out), c.want) {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
	if out, err := exec.Command(os.Args[0], enterArg, t.TempDir()).CombinedOutput(); err == nil || !strings.Contains(string(out), "cannot read how") {
		t.Errorf("%q, %v", out, err)
	}
}
