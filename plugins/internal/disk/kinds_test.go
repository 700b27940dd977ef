package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// everything tells all that a copy must keep of each name below a directory,
// and which names are one file.
func everything(t *testing.T, dir string) map[string]string {
	t.Helper()
	all, first := map[string]string{}, map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		all[rel] = strings.Join(append(about(t, path, rel, first), attributes(t, path)...), " ")
		return nil
	}))
	return all
}

func about(t *testing.T, path, rel string, first map[uint64]string) []string {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	s := info.Sys().(*syscall.Stat_t)
	found := []string{fmt.Sprintf("%v %d:%d %v", info.Mode(), s.Uid, s.Gid, info.ModTime().UTC().Format(time.RFC3339Nano))}
	switch {
	case info.Mode().IsRegular():
		data, err := os.ReadFile(path)
		must(t, err)
		found = append(found, fmt.Sprintf("%d bytes %.9q sparse %v", len(data), data, s.Blocks*512 < info.Size()))
		if one, ok := first[s.Ino]; ok {
			found = append(found, "= "+one)
		} else {
			first[s.Ino] = rel
		}
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		must(t, err)
		found = append(found, "→ "+target)
	}
	return found
}

func attributes(t *testing.T, path string) (all []string) {
	t.Helper()
	for _, name := range []string{"user.tranquil", "security.capability", "system.posix_acl_access", "system.posix_acl_default"} {
		value := make([]byte, 256)
		if n, err := unix.Lgetxattr(path, name, value); err == nil {
			all = append(all, fmt.Sprintf("%s=%x", name, value[:n]))
		}
	}
	return all
}

// acl is an access control list: the owner, user 1234, the group, the mask,
// others.
var acl = []byte{
	2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xd2, 4, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
	0x10, 0, 4, 0, 255, 255, 255, 255, 0x20, 0, 0, 0, 255, 255, 255, 255,
}

// kinds make, each, one thing that a copy must keep.
var kinds = map[string]struct {
	root bool // only root can make it
	make func(dir string) error
}{
	"modes of files":        {false, chmod("file", 0o640)},
	"a file for nobody":     {false, chmod("file", 0o400)},
	"modes of directories":  {false, chmod("sub", 0o750)},
	"a read-only directory": {false, chmod("sub", 0o555)},
	"set user and group":    {false, chmod("file", 0o755|fs.ModeSetuid|fs.ModeSetgid)},
	"a sticky directory":    {false, chmod("sub", 0o777|fs.ModeSticky)},
	"a set-group directory": {false, chmod("sub", 0o770|fs.ModeSetgid)},
	"the state's own mode":  {false, chmod(".", 0o751)},
	"an empty directory":    {false, func(dir string) error { return os.MkdirAll(filepath.Join(dir, "empty", "er"), 0o710) }},
	"an attribute":          {false, attribute("file", "user.tranquil", []byte{1, 0, 2})},
	"attribute of a read-only file": {false, func(dir string) error {
		return errors.Join(attribute("file", "user.tranquil", []byte("x"))(dir), chmod("file", 0o400)(dir))
	}},
	"attribute of a directory": {false, attribute("sub", "user.tranquil", []byte("x"))},
	"access control":           {false, attribute("file", "system.posix_acl_access", acl)},
	"inherited access control": {false, attribute(".", "system.posix_acl_default", acl)},
	"hard links":               {false, func(dir string) error { return os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "sub", "same")) }},
	"links": {false, func(dir string) error {
		return errors.Join(os.Symlink("/nowhere", filepath.Join(dir, "dangling")), os.Symlink("sub", filepath.Join(dir, "link")))
	}},
	"holes": {false, func(dir string) error {
		f, err := os.Create(filepath.Join(dir, "holes"))
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("in the middle"), 1<<20)
		return errors.Join(err, f.Truncate(3<<20), f.Close())
	}},
	"only a hole":           {false, func(dir string) error { return os.Truncate(filepath.Join(dir, "file"), 1<<20) }},
	"owners":                {true, func(dir string) error { return os.Chown(filepath.Join(dir, "file"), 1234, 4321) }},
	"owners of directories": {true, func(dir string) error { return os.Chown(filepath.Join(dir, "sub"), 1234, 4321) }},
	"the state's own owner": {true, func(dir string) error { return os.Chown(dir, 1234, 4321) }},
	"owners of links": {true, func(dir string) error {
		return errors.Join(os.Symlink("file", filepath.Join(dir, "link")), os.Lchown(filepath.Join(dir, "link"), 1234, 4321))
	}},
	"set user of another": {true, func(dir string) error {
		return errors.Join(os.Chown(filepath.Join(dir, "file"), 1234, 4321), chmod("file", 0o755|fs.ModeSetuid)(dir))
	}},
	"capabilities": {true, attribute("file", "security.capability", []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})},
}

func chmod(name string, mode fs.FileMode) func(string) error {
	return func(dir string) error { return os.Chmod(filepath.Join(dir, name), mode) }
}

func attribute(file, name string, value []byte) func(string) error {
	return func(dir string) error { return unix.Lsetxattr(filepath.Join(dir, file), name, value, 0) }
}

// withKind makes a small state with one of the kinds, all of it older than
// anything that a copy could be taken for.
func withKind(t *testing.T, kind string) string {
	t.Helper()
	if kinds[kind].root && os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can make it")
	}
	dir := filepath.Join(t.TempDir(), "state")
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "sub"), 0o700) })
	must(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "sub", "file"), []byte("content"), 0o600))
	err := kinds[kind].make(dir)
	if errors.Is(err, unix.ENOTSUP) {
		t.Skip("NOT TESTED: the file system does not have it")
	}
	must(t, err)
	age(t, dir)
	return dir
}

func age(t *testing.T, dir string) {
	t.Helper()
	old := []unix.Timespec{{Sec: 1577934245, Nsec: 6}, {Sec: 1577934245, Nsec: 6}}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, old, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// TestKinds: whatever a state consists of, copies, links, links brought up to
// date, and files separated from their links are what it was.
func TestKinds(t *testing.T) {
	matched := func(ctx context.Context, from, to string) error {
		return errors.Join(os.Mkdir(to, 0o700), os.WriteFile(filepath.Join(to, "file"), nil, 0o600), Match(ctx, from, to))
	}
	separated := func(ctx context.Context, from, to string) error {
		return errors.Join(Link(ctx, from, to), Unshare(ctx, to, to+".scratch"))
	}
	ways := map[string]func(context.Context, string, string) error{"Copy": Copy, "Link": Link, "Match": matched, "Unshare": separated}
	for kind := range maps.Keys(kinds) {
		for way, duplicate := range ways {
			t.Run(kind+"/"+way, func(t *testing.T) {
				from := withKind(t, kind)
				want := everything(t, from)
				to := filepath.Join(t.TempDir(), "to")
				t.Cleanup(func() { os.Chmod(filepath.Join(to, "sub"), 0o700) })
				must(t, duplicate(t.Context(), from, to))
				if d := cmp.Diff(want, everything(t, to)); d != "" {
					t.Errorf("the copy (-want +got):\n%s", d)
				}
				if d := cmp.Diff(want, everything(t, from)); d != "" {
					t.Errorf("the state itself (-want +got):\n%s", d)
				}
				must(t, Remove(to))
			})
		}
	}
}

// TestUnshareCutOff: a power cut between the names of one file leaves them one
// file in the end.
func TestUnshareCutOff(t *testing.T) {
	for cut := range 3 {
		dir, copied := withKind(t, "hard links"), filepath.Join(t.TempDir(), "copied")
		scratch := filepath.Join(t.TempDir(), "scratch")
		want := everything(t, dir)
		must(t, Link(t.Context(), dir, copied))
		info, err := os.Stat(filepath.Join(dir, "file"))
		must(t, err)
		whole := fmt.Sprintf("%s-%d", scratch, info.Sys().(*syscall.Stat_t).Ino)
		must(t, copySynced(t.Context(), filepath.Join(dir, "file"), whole))
		for _, name := range []string{"file", "sub/same"}[:cut] {
			must(t, os.Link(whole, scratch))
			must(t, replaceIn(scratch, filepath.Join(dir, name)))
		}
		must(t, os.WriteFile(scratch, []byte("half"), 0o600))
		must(t, Unshare(t.Context(), dir, scratch))
		if d := cmp.Diff(want, everything(t, dir)); d != "" {
			t.Errorf("after %d names (-want +got):\n%s", cut, d)
		}
		if left, _ := filepath.Glob(scratch + "-*"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("in place"), 0o600))
		if d := cmp.Diff(want["file"], everything(t, copied)["file"]); d != "" {
			t.Errorf("the copy changed with it: %s", d)
		}
	}
}

// specials make what cannot be copied.
var specials = map[string]func(t *testing.T, path string) error{
	"is a device node": func(_ *testing.T, path string) error {
		return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	},
	"is a mount point": func(t *testing.T, path string) error {
		err := os.MkdirAll(path, 0o700)
		if err == nil {
			err = unix.Mount("tmpfs", path, "tmpfs", 0, "size=64k")
		}
		t.Cleanup(func() { unix.Unmount(path, 0) })
		return err
	},
	"is immutable": func(t *testing.T, path string) error {
		return errors.Join(os.MkdirAll(path, 0o700), flag(t, path, 0x10)) // FS_IMMUTABLE_FL
	},
	"is immutable or can only be appended to": func(t *testing.T, path string) error {
		return errors.Join(os.MkdirAll(path, 0o700), flag(t, path, 0x20)) // FS_APPEND_FL
	},
}

// flag sets flags of a file until the test ends.
func flag(t *testing.T, path string, flags int) error {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	t.Cleanup(func() { unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0); f.Close() })
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
}

// TestRefused: what cannot be copied is an error that names it, be it in the
// directory or the directory itself.
func TestRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can make what is refused")
	}
	for want, make := range specials {
		for _, name := range []string{"sub/special", "."} {
			t.Run(want+" "+name, func(t *testing.T) {
				from := withKind(t, "an empty directory")
				earlier := filepath.Join(t.TempDir(), "earlier")
				must(t, Link(t.Context(), from, earlier))
				path := filepath.Join(from, name)
				if name == "." && want == "is a device node" {
					t.Skip("a state that is a device is no directory")
				}
				if err := make(t, path); err != nil {
					t.Skipf("NOT TESTED: what %s cannot be made here: %v", want, err)
				}
				refused(t, from, earlier, path+" "+want)
			})
		}
	}
}

func refused(t *testing.T, from, earlier, want string) {
	t.Helper()
	for name, err := range map[string]error{
		"Copy": Copy(t.Context(), from, filepath.Join(t.TempDir(), "to")), "Link": Link(t.Context(), from, filepath.Join(t.TempDir(), "to")),
		"LinkLive": LinkLive(t.Context(), from, filepath.Join(t.TempDir(), "to")), "Match": Match(t.Context(), from, earlier),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %.300v, want %.300q", name, err, want)
		}
	}
}
