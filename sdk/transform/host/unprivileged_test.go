package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

const unprivileged = "TRANQUIL_TEST_UNPRIVILEGED"

// TestUnprivileged: also a host that is not root makes, moves and clears away
// trees that their owner may not enter.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can be somebody else; TestLockedTrees ran as who this is")
	}
	dir, err := os.MkdirTemp("", "unprivileged")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o777))
	must(t, os.Chmod(modules, 0o755))
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestLockedTrees$")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "TRANQUIL_MODULES="+modules, unprivileged+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestLockedTrees(t *testing.T) {
	h := &Host{Cache: filepath.Join(t.TempDir(), "cache")}
	locked := Step{Module: built("subject"), From: 1, To: 2, Mode: Tree, Params: map[string]string{"evil": "locked"}}
	for name, mode := range map[string]os.FileMode{"the state may be written to": 0o755, "the state may not be written to": 0o555} {
		in, out := write(t, map[string]string{"f": "x"}), filepath.Join(t.TempDir(), "out")
		must(t, os.Chmod(in, mode))
		left := filepath.Join(out+".work", "0", "left")
		must(t, os.MkdirAll(left, 0o700)) // by a run that was killed
		must(t, os.WriteFile(filepath.Join(left, "f"), nil, 0o600))
		must(t, os.Chmod(left, 0))
		if _, err := h.Run(t.Context(), []Step{locked}, in, out, nil); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := stat(t, out).Mode().Perm(); got != mode {
			t.Errorf("%s: the new one has mode %v", name, got)
		}
		if got := stat(t, filepath.Join(out, "locked")).Mode().Perm(); got != 0 {
			t.Errorf("%s: the directory has mode %v", name, got)
		}
		must(t, replica.RemoveAll(out))
		// Nobody but root can read on from there; whatever comes of it, nothing stays.
		_, _ = h.Run(t.Context(), []Step{locked, {Module: built("subject"), From: 2, To: 3, Mode: Tree}}, in, out, nil)
		if _, err := os.Lstat(out + ".work"); !os.IsNotExist(err) {
			t.Errorf("%s: the work directory is left: %v", name, err)
		}
		must(t, replica.RemoveAll(out))
		if _, err := h.Refresh(t.Context(), locked, in, out, nil, nil); err != nil {
			t.Errorf("%s, refreshed: %v", name, err)
		}
		must(t, replica.RemoveAll(out))
		must(t, os.Chmod(in, 0o755)) // whoever clears away
	}
}
