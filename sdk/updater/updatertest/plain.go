package updatertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// plain builds the test binary once more, without the race detector. Nobody
// hears what that says in an updater's process, and it more than doubles the
// time that each of thousands of processes takes to start.
func plain(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(os.Args[0]))
	if out, err := exec.Command("go", "test", "-c", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("cannot build the updater: %v\n%s", err, out)
	}
	return program
}
