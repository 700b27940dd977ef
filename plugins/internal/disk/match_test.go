package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// described tells all there is below a directory, with inodes.
func described(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprint(rel, " ", info.Mode())
		switch {
		case entry.Type() == fs.ModeSymlink:
			target, _ := os.Readlink(path)
			line += " → " + target
		case entry.Type().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + string(b)
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Whatever has changed since a directory was linked, Match and a new Link agree;
// also where directories do not have the numbers of files.
func TestMatch(t *testing.T) {
	t.Run("numbered", func(t *testing.T) { matches(t, func(from, to string) error { return Match(t.Context(), from, to) }) })
	t.Run("not numbered", func(t *testing.T) {
		matches(t, func(from, to string) error {
			m := matcher{&copier{link: true}, false}
			return errors.Join(m.begin(from), m.dir(t.Context(), from, to))
		})
	})
}

func matches(t *testing.T, match func(from, to string) error) {
	from, earlier, anew := t.TempDir(), filepath.Join(t.TempDir(), "earlier"), filepath.Join(t.TempDir(), "anew")
	at := func(name string) string { return filepath.Join(from, name) }
	write := func(name, content string) error { return os.WriteFile(at(name), []byte(content), 0o600) }
	err := errors.Join(
		os.MkdirAll(at("deep/er"), 0o700), os.MkdirAll(at("gone/er"), 0o700), os.Mkdir(at("becomes a file"), 0o700),
		write("same", "same"), write("in place", "old"), write("replaced", "old"), write("removed", ""), write("deep/er/f", "f"),
		write("becomes a directory", ""), write("becomes a link", ""), write("gone/er/f", ""), os.Symlink("same", at("link")), os.Symlink("same", at("other link")),
		Link(t.Context(), from, earlier),
		write("in place", "new"), write("replacement", "new"), os.Rename(at("replacement"), at("replaced")), os.Remove(at("removed")),
		write("new", "new"), os.Mkdir(at("new directory"), 0o750), write("new directory/f", "f"), os.RemoveAll(at("gone")),
		os.Remove(at("becomes a directory")), os.Mkdir(at("becomes a directory"), 0o700), write("becomes a directory/f", "f"),
		os.Remove(at("becomes a file")), write("becomes a file", "f"), os.Remove(at("becomes a link")), os.Symlink("x", at("becomes a link")),
		os.Remove(at("other link")), os.Symlink("deep", at("other link")), os.Chmod(at("deep"), 0o755),
		match(from, earlier), Link(t.Context(), from, anew),
	)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(described(t, anew), described(t, earlier)); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"same", "replaced", "in place", "deep/er/f"} {
		a, errA := os.Stat(at(name))
		b, errB := os.Stat(filepath.Join(earlier, name))
		if errA != nil || errB != nil || !os.SameFile(a, b) {
			t.Errorf("%s is not linked", name)
		}
	}
}
