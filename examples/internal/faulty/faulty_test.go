package faulty

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFaults(t *testing.T) {
	at := t.TempDir()
	f, err := Mount(t.TempDir(), at, func(path string) bool { return !strings.HasPrefix(path, "free") })
	if err != nil {
		t.Skipf("NOT TESTED: disk faults: %v", err)
	}
	t.Cleanup(func() {
		if err := f.Unmount(); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		fault Fault
		do    func(dir string) error
	}{
		{Fault{Op: Write, Nth: 1, Err: syscall.EIO}, func(dir string) error { return os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o600) }},
		{Fault{Op: Create, Nth: 1, Err: syscall.ENOSPC}, func(dir string) error { return os.WriteFile(filepath.Join(dir, "b"), nil, 0o600) }},
		{Fault{Op: Create, Nth: 1, Err: syscall.EIO}, func(dir string) error { return os.Mkdir(filepath.Join(dir, "dir"), 0o700) }},
		{Fault{Op: Create, Nth: 1, Err: syscall.EIO}, func(dir string) error { return os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "link")) }},
		{Fault{Op: Rename, Nth: 1, Err: syscall.EIO}, func(dir string) error { return os.Rename(filepath.Join(dir, "file"), filepath.Join(dir, "renamed")) }},
		{Fault{Op: Remove, Nth: 1, Err: syscall.EIO}, func(dir string) error { return os.Remove(filepath.Join(dir, "file")) }},
		{Fault{Op: Sync, Nth: 1, Err: syscall.EIO}, func(dir string) error { return syncAt(filepath.Join(dir, "file")) }},
		{Fault{Op: Sync, Nth: 1, Err: syscall.EIO}, syncAt},
		{Fault{Op: Sync, Nth: 2, Times: 1, Err: syscall.EIO}, func(dir string) error { return errors.Join(syncAt(dir), syncAt(dir), syncAt(dir)) }},
	} {
		if err := os.WriteFile(filepath.Join(at, "file"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		f.Inject(c.fault)
		if err := os.WriteFile(filepath.Join(at, "free"), []byte("x"), 0o600); err != nil {
			t.Errorf("%s: hit what it does not concern: %v", c.fault, err)
		}
		if err := c.do(at); !errors.Is(err, c.fault.Err) {
			t.Errorf("%s: the error is %v", c.fault, err)
		}
		if hits := f.Heal(); len(hits) != 1 {
			t.Errorf("%s: hit %q", c.fault, hits)
		}
	}
	f.Inject(Fault{Op: Sync, Nth: 1, Delay: 50 * time.Millisecond})
	if begin := time.Now(); syncAt(at) != nil || time.Since(begin) < 50*time.Millisecond || f.Count(Sync) != 1 {
		t.Error("the disk is not slow")
	}
}

func syncAt(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
