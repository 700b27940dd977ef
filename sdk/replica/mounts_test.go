package replica

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRemoveMounted: what somebody has mounted below a tree does not go with it.
func TestRemoveMounted(t *testing.T) {
	dir := t.TempDir()
	tree, own := filepath.Join(dir, "tree"), filepath.Join(dir, "own")
	on := []string{filepath.Join(tree, "a", "b c"), filepath.Join(tree, "file"), tree}
	must(t, errors.Join(os.MkdirAll(on[0], 0o700), os.MkdirAll(filepath.Join(own, "x"), 0o700)))
	must(t, errors.Join(os.WriteFile(on[1], nil, 0o600), os.WriteFile(filepath.Join(own, "x", "precious"), nil, 0o600)))
	t.Cleanup(func() { _ = Detach(dir) })
	for i, what := range []string{own, filepath.Join(own, "x", "precious"), filepath.Join(own, "x")} {
		if err := unix.Mount(what, on[i], "", unix.MS_BIND, ""); err != nil {
			t.Skipf("NOT TESTED: trees in which something is mounted, since nothing can be here: %v", err)
		}
	}
	must(t, RemoveAll(tree))
	if _, err := os.Lstat(tree); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the tree is there: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(own, "x", "precious")); err != nil {
		t.Error(err)
	}
}
