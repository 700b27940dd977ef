package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// TestWalk compares with the library: the same names, in the same order.
func TestWalk(t *testing.T) {
	root := filepath.Join(t.TempDir(), "state")
	for i := range 2*share + 100 { // more than one processor looks at
		put(t, filepath.Join(root, "flat", fmt.Sprint(i)), "")
	}
	for i := range 50 {
		put(t, filepath.Join(root, fmt.Sprint("d", i), fmt.Sprint("deep-", i%3), fmt.Sprint(i)), "x")
	}
	must(t, errors.Join(os.Symlink("flat", filepath.Join(root, "link")), os.Mkdir(filepath.Join(root, "empty"), 0o700)))
	var got, want []string
	must(t, walk(t.Context(), root, func(e *entry) error {
		got = append(got, fmt.Sprint(e.mode().Type(), e.path))
		return nil
	}))
	must(t, fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		want = append(want, fmt.Sprint(d.Type(), path))
		return err
	}))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := walk(ctx, root, func(*entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a walk that is cancelled: %v", err)
	}
}

// TestStill: what was seen is not looked at again, unless another file bears its
// name.
func TestStill(t *testing.T) {
	root := filepath.Join(t.TempDir(), "state")
	must(t, os.Mkdir(root, 0o700))
	if !replica.Numbered(root) {
		t.Skip("NOT TESTED: files that are not looked at again, since this file system does not tell that they are the same")
	}
	path := func(name string) string { return filepath.Join(root, name) }
	for _, name := range []string{"alike/a", "alike/b", "some/kept", "some/replaced", "some/removed", "other/a", "other/b"} {
		put(t, path(name), "1")
	}
	before, err := seen(t.Context(), root)
	must(t, err)
	for _, name := range []string{"alike/a", "some/kept"} { // which nobody does, so nobody looks
		put(t, path(name), "22")
	}
	put(t, path("some/new"), "333")
	must(t, os.Rename(path("some/new"), path("some/replaced")))
	must(t, os.Remove(path("some/removed")))
	put(t, path("some/added"), "4444")
	must(t, os.Rename(path("other"), path("gone")))
	put(t, path("other/a"), "55555")

	found, err := explore(t.Context(), root, before)
	must(t, err)
	got := map[string]int64{}
	must(t, found.each(func(e *entry) error {
		if e.regular() {
			got[e.path] = e.stat.Size
		}
		return nil
	}))
	want := map[string]int64{
		"alike/a": 1, "alike/b": 1, "some/kept": 1, "some/replaced": 3, "some/added": 4,
		"other/a": 5, "gone/a": 1, "gone/b": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
