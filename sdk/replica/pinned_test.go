package replica

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// fix makes a file immutable, or skips the test.
func fix(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	if err := setFlags(f, immutable); err != nil {
		t.Skipf("NOT TESTED: immutable files, since none can be made here: %v", err)
	}
	t.Cleanup(func() { _ = RemoveAll(path) })
}

// TestRemovePinned: what is immutable is removed; a name of it elsewhere is
// that of an immutable file still.
func TestRemovePinned(t *testing.T) {
	dir := t.TempDir()
	gone, stays := filepath.Join(dir, "gone"), filepath.Join(dir, "stays")
	must(t, os.MkdirAll(filepath.Join(gone, "sub"), 0o700))
	must(t, os.WriteFile(stays, []byte("kept"), 0o600))
	must(t, os.Link(stays, filepath.Join(gone, "sub", "linked")))
	must(t, os.WriteFile(filepath.Join(gone, "own"), nil, 0o600))
	for _, path := range []string{stays, filepath.Join(gone, "own"), filepath.Join(gone, "sub"), gone} {
		fix(t, path)
	}
	must(t, RemoveAll(gone))
	if _, err := os.Lstat(gone); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if info, err := Look(stays); err != nil || !info.Pinned() || info.Names() != 1 {
		t.Errorf("the other name: %+v, %v", info, err)
	}
}
