package state

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

const unprivileged = "TRANQUIL_TEST_UNPRIVILEGED"

// TestUnprivileged: an agent that is not root gives files all that is its own.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: what another user may do, since only root can be somebody else")
	}
	dir, err := os.MkdirTemp("", "unprivileged")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o777))
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestBelongings$/^(filter|copy)$/mode|links")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, unprivileged+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
