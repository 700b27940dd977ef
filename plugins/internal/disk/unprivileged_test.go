package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const foreign = "TRANQUIL_TEST_FOREIGN" // directory with a file that is somebody else's

// TestUnprivileged: an updater that is not root copies all that is its own,
// in whatever mode, and refuses what it could not give back to its owner.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: what another user may do, since only root can be somebody else")
	}
	dir, err := os.MkdirTemp("", "unprivileged")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Mkdir(filepath.Join(dir, "theirs"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "theirs", "file"), []byte("content"), 0o644))
	must(t, os.Chmod(dir, 0o777))
	cmd := exec.Command("/proc/self/exe", "-test.run=^(TestKinds|TestUnshareCutOff|TestForeign)$")
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "TMPDIR="+dir, foreign+"="+filepath.Join(dir, "theirs"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestForeign(t *testing.T) {
	from := os.Getenv(foreign)
	if from == "" {
		t.Skip("only for TestUnprivileged")
	}
	err := Copy(t.Context(), from, filepath.Join(t.TempDir(), "to"))
	if err == nil || !strings.Contains(err.Error(), "belongs to user 0 and group 0, and this process (user 65534) may give files to nobody") {
		t.Errorf("error %v", err)
	}
}
