package store

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// On a full disk a write is an error, not the end of the process; with room
// again the store goes on, and has lost nothing.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=96m"); err != nil {
		t.Skipf("NOT TESTED: a full disk, since no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(disk, "db")
	s := open(t, dir)
	want := engine.Installed{Version: "1.0.0"}
	check(t, s.Commit(name, want))

	fillDisk(t, filepath.Join(disk, "full"))
	if failed := writes(s, 100); failed > 0 {
		t.Errorf("%d writes failed: the ballast is there for them", failed)
	}
	rest(t, dir) // a disk that fills up while badger writes a table ends the process, see space.go
	fillDisk(t, filepath.Join(disk, "fuller"))
	if failed := writes(s, 2000); failed == 0 {
		t.Error("no write failed on a disk without any room")
	}
	for _, file := range []string{"full", "fuller"} {
		check(t, os.Remove(filepath.Join(disk, file)))
	}
	s = reopen(t, s, dir)
	defer s.Close()
	if got, err := s.Installed(name); err != nil || got.Version != want.Version {
		t.Errorf("installed %+v, %v", got, err)
	}
	check(t, s.Commit(name, engine.Installed{Version: "2.0.0"}))
}

// rest waits until badger has written what memory was full of: for a while no table
// comes or goes.
func rest(t *testing.T, dir string) {
	t.Helper()
	var last []string
	for since := time.Now(); time.Since(since) < time.Second; time.Sleep(20 * time.Millisecond) {
		tables, err := filepath.Glob(filepath.Join(dir, "*"))
		check(t, err)
		if !slices.Equal(tables, last) {
			last, since = tables, time.Now()
		}
	}
}

// fillDisk uses up the disk.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	check(t, err)
	defer f.Close()
	if _, err := io.Copy(f, zeros{}); err == nil {
		t.Fatal("the disk has no end")
	}
}

// writes makes n of them, more than an update ever does, and reports how many
// failed.
func writes(s *Store, n int) (failed int) {
	for i := range n {
		outcome := engine.Outcome{Update: "u", Component: name, Cause: strings.Repeat("x", 8000+i)}
		if err := s.Report(outcome); err != nil {
			failed++
		}
	}
	return failed
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
