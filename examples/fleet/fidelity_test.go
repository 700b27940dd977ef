package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestFidelity carries a state with one of everything through an update, and
// back from one that fails: whose the files are, what may be done with them,
// when they were written and how they are linked is no business of an update.
// What cannot be carried is refused while the component runs.
func TestFidelity(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	put(t, s, "3.0.0") // is never healthy
	kept := func() string {
		running, _ := check(t, s)
		return filepath.Join(running.State, "kept")
	}
	decorate(t, kept())
	want := described(t, kept())
	update(t, s, "2.0.0")
	if d := cmp.Diff(want, described(t, kept())); d != "" {
		t.Errorf("after an update (-before +after):\n%s", d)
	}
	if err := syscall.Mkfifo(filepath.Join(kept(), "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	want = described(t, kept())
	if c, err := s.Ask(t.Context(), `{"version": "3.0.0"}`); err != nil || c.Update.Result != "turned back" {
		t.Fatalf("the bad version: %+v, %v", c.Update, err)
	}
	if d := cmp.Diff(want, described(t, kept())); d != "" {
		t.Errorf("after an update that turned back (-before +after):\n%s", d)
	}
	if os.Geteuid() == 0 {
		refuseDevice(t, s, filepath.Join(kept(), "device"))
	}
}

func refuseDevice(t *testing.T, s *rig.System, path string) {
	t.Helper()
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	before, _ := check(t, s)
	if cause := refused(t, s, `{"version": "1.0.0"}`); !strings.Contains(cause, "kept/device is a device node") {
		t.Errorf("cause %s", cause)
	}
	if out, err := s.AgentCLI(t.Context(), "state", "restore", rig.SensorAdapter, fmt.Sprint(states(t, s)[0].Generation), "--yes"); err == nil || !strings.Contains(out+err.Error(), "kept/device is a device node") {
		t.Errorf("restore: %v\n%s", err, out)
	}
	if after, _ := check(t, s); after != before {
		t.Errorf("the component was touched: %+v became %+v", before, after)
	}
}

// decorate makes a directory with one of each kind.
func decorate(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(
		os.MkdirAll(at("empty"), 0o700), os.MkdirAll(at("spool"), 0o700),
		os.WriteFile(at("program"), []byte("program"), 0o600), os.WriteFile(at("spool/mail"), []byte("mail"), 0o600),
		os.Link(at("spool/mail"), at("same")), os.Symlink("spool", at("link")),
		os.WriteFile(at("holes"), nil, 0o600), os.Truncate(at("holes"), 1<<20),
	)
	if err == nil && os.Geteuid() == 0 {
		err = errors.Join(os.Chown(at("program"), 1234, 4321), os.Chown(at("spool"), 1234, 4321), os.Lchown(at("link"), 1234, 4321))
	}
	if err == nil {
		err = errors.Join(os.Chmod(at("program"), 0o755|fs.ModeSetuid|fs.ModeSetgid), os.Chmod(at("spool"), 0o777|fs.ModeSticky), os.Chmod(at("spool/mail"), 0o440))
	}
	for _, name := range []string{"program", "spool"} {
		if e := unix.Setxattr(at(name), "user.tranquil", []byte("x"), 0); !errors.Is(e, unix.ENOTSUP) {
			err = errors.Join(err, e)
		}
	}
	long := time.Date(2020, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, name := range []string{"program", "spool/mail", "holes", "empty", "spool", "."} {
		err = errors.Join(err, os.Chtimes(at(name), long, long))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// described tells all that is to be kept of a directory.
func described(t *testing.T, dir string) map[string]string {
	t.Helper()
	all, first := map[string]string{}, map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		s := info.Sys().(*syscall.Stat_t)
		rel, _ := filepath.Rel(dir, path)
		all[rel] = fmt.Sprintf("%v %d:%d %v", info.Mode(), s.Uid, s.Gid, info.ModTime().UTC())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[rel] += fmt.Sprintf(" %d bytes %.9q holes %v = %s", len(data), data, s.Blocks*512 < info.Size(), first[s.Ino])
			first[s.Ino] = rel
		}
		if target, err := os.Readlink(path); err == nil {
			all[rel] += " → " + target
		}
		value := make([]byte, 16)
		if n, err := unix.Lgetxattr(path, "user.tranquil", value); err == nil {
			all[rel] += fmt.Sprintf(" %q", value[:n])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
