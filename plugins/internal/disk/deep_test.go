package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// deepen makes a chain of directories, as a component does that changes to
// each, and returns the last one and its path.
func deepen(t *testing.T, dir string, levels int, part string) (last *os.File, path string) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for range levels {
		must(t, unix.Mkdirat(fd, part, 0o700))
		next, err := unix.Openat(fd, part, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, errors.Join(err, unix.Close(fd)))
		fd = next
	}
	last = os.NewFile(uintptr(fd), "last")
	t.Cleanup(func() { last.Close() })
	return last, filepath.Join(dir, strings.Repeat(part+"/", levels))
}

// TestDeep: a component whose files are deeper than any path gets its own ones,
// wherever in the tree they are, and its state can be removed; an update does
// not carry it, and says which name is in its way.
func TestDeep(t *testing.T) {
	dir, copied := filepath.Join(t.TempDir(), "state"), t.TempDir()
	must(t, os.Mkdir(dir, 0o700))
	last, path := deepen(t, dir, 30, strings.Repeat("d", 250))
	for i, names := range []int{1, 2} { // of the same file
		outside := filepath.Join(copied, fmt.Sprint(i))
		must(t, os.WriteFile(outside, []byte("content"), 0o640))
		for n := range names {
			must(t, unix.Linkat(unix.AT_FDCWD, outside, int(last.Fd()), fmt.Sprint(i, n), 0))
		}
	}
	must(t, Unshare(t.Context(), dir, filepath.Join(copied, "scratch")))
	for i := range 2 {
		info, err := replica.Look(filepath.Join(copied, fmt.Sprint(i)))
		must(t, err)
		own, err := replica.LookIn(last, fmt.Sprint(i, 0))
		must(t, err)
		if info.Names() != 1 || int(own.Names()) != i+1 {
			t.Errorf("file %d has %d names outside and %d inside", i, info.Names(), own.Names())
		}
	}
	short, done, err := reach(filepath.Join(path, fmt.Sprint(1, 0)))
	must(t, err)
	defer done()
	if data, err := os.ReadFile(short); err != nil || string(data) != "content" {
		t.Errorf("read %q, %v", data, err)
	}
	refused(t, dir, t.TempDir(), "… is a name of more than 2048 bytes")
	must(t, Remove(dir))
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there still: %v", err)
	}
}

// TestManyLevels: nor is a tree carried of which nobody could hold all
// directories open.
func TestManyLevels(t *testing.T) {
	dir := t.TempDir()
	deepen(t, dir, replica.MaxLevels, "d")
	must(t, Copy(t.Context(), dir, filepath.Join(t.TempDir(), "to")))
	deepen(t, filepath.Join(dir, strings.Repeat("d/", replica.MaxLevels)), 1, "d")
	refused(t, dir, t.TempDir(), "… is more than 256 levels deep")
}

// TestRenamePinned: neither what is renamed nor a file that it replaces is in
// the way by being immutable.
func TestRenamePinned(t *testing.T) {
	for _, flags := range []int{0x10, 0x20} { // FS_IMMUTABLE_FL, FS_APPEND_FL
		dir := t.TempDir()
		from, to, file := filepath.Join(dir, "from"), filepath.Join(dir, "to"), filepath.Join(dir, "file")
		must(t, os.MkdirAll(filepath.Join(from, "sub"), 0o700))
		must(t, os.WriteFile(file, nil, 0o600))
		for _, path := range []string{filepath.Join(from, "sub"), from, file} {
			if err := flag(t, path, flags); err != nil {
				t.Skipf("NOT TESTED: files that are immutable, since none can be made here: %v", err)
			}
		}
		must(t, WriteFile(file, []byte("new"), 0o600))
		must(t, Rename(from, to))
		must(t, Remove(to))
		if entries := read(t, dir); len(entries) != 1 || entries["file"].Content != "new" {
			t.Errorf("left are %v", entries)
		}
	}
}
