package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// entry is what a copy must keep of a file.
type entry struct {
	Content string
	Mode    fs.FileMode
	Time    int64
}

// read describes a tree; directories have no time.
func read(t *testing.T, dir string) map[string]entry {
	t.Helper()
	found := map[string]entry{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{Mode: info.Mode()}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			e.Content, err = os.Readlink(path)
		case !d.IsDir():
			var data []byte
			data, err = os.ReadFile(path)
			e.Content, e.Time = string(data), info.ModTime().UnixNano()
		}
		rel, _ := filepath.Rel(dir, path)
		found[rel] = e
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree makes a directory with one of each kind.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o750))
	must(t, os.WriteFile(filepath.Join(dir, "a", "b", "file"), []byte("content"), 0o640))
	must(t, os.WriteFile(filepath.Join(dir, "program"), nil, 0o755))
	old := time.Date(2020, 1, 2, 3, 4, 5, 6, time.UTC)
	must(t, os.Chtimes(filepath.Join(dir, "program"), old, old))
	must(t, os.Symlink("a/b", filepath.Join(dir, "link")))
	return dir
}

func TestCopies(t *testing.T) {
	for name, duplicate := range map[string]func(context.Context, string, string) error{"Copy": Copy, "Link": Link, "LinkLive": LinkLive} {
		t.Run(name, func(t *testing.T) {
			from, to := tree(t), filepath.Join(t.TempDir(), "to")
			must(t, syscall.Mkfifo(filepath.Join(from, "pipe"), 0o600))
			must(t, duplicate(t.Context(), from, to))
			must(t, os.Remove(filepath.Join(from, "pipe")))
			if d := cmp.Diff(read(t, from), read(t, to)); d != "" {
				t.Error(d)
			}
			one, err := os.Stat(filepath.Join(from, "program"))
			must(t, err)
			two, err := os.Stat(filepath.Join(to, "program"))
			must(t, err)
			if os.SameFile(one, two) != (name != "Copy") {
				t.Error("same file or not, it is the wrong way")
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := duplicate(ctx, from, filepath.Join(t.TempDir(), "to")); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled, the error is %v", err)
			}
			if err := duplicate(t.Context(), filepath.Join(from, "gone"), to); err == nil {
				t.Error("no error for a missing directory")
			}
		})
	}
}

func TestUnshare(t *testing.T) {
	dir, copied, scratch := tree(t), filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "scratch")
	must(t, Link(t.Context(), dir, copied))
	want := read(t, dir)
	must(t, os.WriteFile(scratch, []byte("left by a power cut"), 0o600))
	must(t, Unshare(t.Context(), dir, scratch))
	if d := cmp.Diff(want, read(t, dir)); d != "" {
		t.Error(d)
	}
	must(t, os.WriteFile(filepath.Join(dir, "a", "b", "file"), []byte("in place"), 0o640))
	if d := cmp.Diff(want, read(t, copied)); d != "" {
		t.Error(d)
	}
	if Exists(scratch) {
		t.Error("scratch is left")
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	for _, content := range []string{"one", "two"} {
		must(t, WriteFile(file, []byte(content), 0o600))
		must(t, os.Symlink("left by a power cut", filepath.Join(dir, ".link.new")))
		must(t, Symlink(content, link))
		if d := cmp.Diff([]string{content, content}, []string{read(t, dir)["file"].Content, read(t, dir)["link"].Content}); d != "" {
			t.Error(d)
		}
	}
	if entries := read(t, dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	name, gone := filepath.Join(dir, "name"), filepath.Join(dir, ".name.gone")
	must(t, Remove(name))
	must(t, os.MkdirAll(filepath.Join(gone, "half"), 0o700))
	must(t, os.MkdirAll(filepath.Join(name, "a", "b"), 0o700))
	must(t, Remove(name))
	if entries := read(t, dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	must(t, Remove(filepath.Join(dir, "no", "such", "directory")))
}

func TestSync(t *testing.T) {
	must(t, Sync(tree(t)))
	if err := Sync(filepath.Join(t.TempDir(), "gone")); err == nil {
		t.Error("no error for a missing directory")
	}
}
