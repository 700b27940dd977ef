package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	entry := func(name string, age time.Duration, mode os.FileMode) {
		path := filepath.Join(dir, compiledName, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, make([]byte, 1000), 0o600))
		must(t, os.Chmod(path, mode))
		at := time.Now().Add(-age)
		must(t, os.Chtimes(path, at, at))
	}
	entry("v2/new", time.Minute, 0o600)
	entry("v2/older", time.Hour, 0o600)
	entry("v2/oldest", 3*time.Hour, 0o600)
	entry("v2/anybody's", 0, 0o666)
	entry("v1/former", 2*time.Hour, 0o600)
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, compiledName, "v2/link")))
	if os.Geteuid() == 0 {
		entry("v2/foreign", 0, 0o600)
		must(t, os.Chown(filepath.Join(dir, compiledName, "v2/foreign"), 1, 1))
	} else {
		t.Log("NOT CHECKED: entries of others, for it takes root")
	}
	must(t, os.Chmod(dir, 0o755))
	must(t, prune(dir, 2100))
	want := map[string]string{"v2/new": string(make([]byte, 1000)), "v2/older": string(make([]byte, 1000))}
	if diff := cmp.Diff(want, read(t, filepath.Join(dir, compiledName))); diff != "" {
		t.Error(diff)
	}
	if mode := stat(t, dir).Mode().Perm(); mode != 0o700 {
		t.Errorf("mode of the cache is %v", mode)
	}
	if _, err := os.Stat(filepath.Join(dir, compiledName, "v1")); !os.IsNotExist(err) {
		t.Error("the directory of the former version is left")
	}
	if os.Geteuid() == 0 {
		must(t, os.Chown(dir, 1, 1))
		if err := prune(dir, 2100); err == nil {
			t.Error("a cache of somebody else is used")
		}
	}
}
