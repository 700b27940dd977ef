package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestContent: what lies between holes, and nothing else, is copied.
func TestContent(t *testing.T) {
	for name, pieces := range map[string]map[int64]string{
		"empty": nil, "whole": {0: strings.Repeat("x", 1<<20)}, "a hole first": {1 << 20: "data"}, "a hole last": {0: "data", 3<<20 - 1: "\x00"},
		"holes between": {0: "a", 1 << 20: "b", 2 << 20: strings.Repeat("c", 100_000)},
	} {
		dir := t.TempDir()
		from, err := os.Create(filepath.Join(dir, "from"))
		must(t, err)
		defer from.Close()
		for at, data := range pieces {
			_, err := from.WriteAt([]byte(data), at)
			must(t, err)
		}
		if name == "a hole last" {
			must(t, from.Truncate(5<<20))
		}
		must(t, Copy(t.Context(), from.Name(), filepath.Join(dir, "to")))
		want, err := os.ReadFile(from.Name())
		must(t, err)
		got, err := os.ReadFile(filepath.Join(dir, "to"))
		must(t, err)
		if !bytes.Equal(want, got) {
			t.Errorf("%s: another content", name)
		}
		if a, b := blocks(t, from.Name()), blocks(t, filepath.Join(dir, "to")); b > a+16 {
			t.Errorf("%s: %d blocks became %d", name, a, b)
		}
	}
}

// ending is a context that ends after it was asked so often.
type ending struct {
	context.Context
	after *int
}

func (e ending) Err() error {
	if *e.after--; *e.after < 0 {
		return context.Canceled
	}
	return nil
}

// TestContentEnds: a copy ends when it is asked to, in the middle of a file.
func TestContentEnds(t *testing.T) {
	for name, write := range map[string]func(f *os.File) error{
		"whole":  func(f *os.File) error { _, err := f.Write(make([]byte, 8<<20)); return err },
		"sparse": func(f *os.File) error { _, err := f.WriteAt(make([]byte, 8<<20), 1<<20); return err },
	} {
		dir, after := t.TempDir(), 3
		from, err := os.Create(filepath.Join(dir, "from"))
		must(t, err)
		defer from.Close()
		must(t, write(from))
		_, err = from.Seek(0, io.SeekStart)
		must(t, err)
		to, err := os.Create(filepath.Join(dir, "to"))
		must(t, err)
		defer to.Close()
		if err := Content(ending{t.Context(), &after}, to, from); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", name, err)
		}
		if info, err := to.Stat(); err != nil || info.Size() > 4<<20 {
			t.Errorf("%s: %d bytes were copied, %v", name, info.Size(), err)
		}
	}
}

func blocks(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	must(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks
}

// TestGive: a file that has other things than the one it shall be like has
// them no more.
func TestGive(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	must(t, os.WriteFile(from, nil, 0o600))
	must(t, os.WriteFile(to, []byte("content"), 0o600))
	long := time.Date(2020, 1, 2, 3, 4, 5, 6, time.UTC)
	must(t, os.Chtimes(from, long, long))
	if err := errors.Join(unix.Setxattr(from, "user.a", []byte("1"), 0), unix.Setxattr(to, "user.a", []byte("2"), 0), unix.Setxattr(to, "user.b", nil, 0)); err != nil {
		t.Log("without attributes:", err)
	}
	must(t, os.Chmod(from, 0o440|fs.ModeSetgid))
	must(t, os.Chmod(to, 0o400))
	for range 2 {
		must(t, Give(to, from))
	}
	if d := cmp.Diff(told(t, from), told(t, to)); d != "" {
		t.Error(d)
	}
	must(t, os.Chmod(to, 0o640))
	must(t, GiveBut(to, from))
	if info, err := os.Stat(to); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v: the permissions were not its own", info.Mode(), err)
	}
	if data, err := os.ReadFile(to); err != nil || string(data) != "content" {
		t.Errorf("content %q, %v", data, err)
	}
}

func told(t *testing.T, name string) string {
	t.Helper()
	info, err := os.Stat(name)
	must(t, err)
	all, err := attributes(name)
	must(t, err)
	return fmt.Sprint(info.Mode(), info.ModTime().UTC(), all)
}

func TestRemoveAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "a", "b", "file"), nil, 0o400))
	for _, name := range []string{"a/b", "a", "."} {
		must(t, os.Chmod(filepath.Join(dir, name), 0o500))
	}
	must(t, RemoveAll(dir))
	must(t, RemoveAll(dir))
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it is still there")
	}
}
