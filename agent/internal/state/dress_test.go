package state

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"golang.org/x/sys/unix"
)

// belongings tells what belongs to each name of a state, but not its content,
// and which names are one file.
func belongings(t testing.TB, dir string) map[string]string {
	t.Helper()
	all, first := map[string]string{}, map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(name)
		must(t, err)
		s := info.Sys().(*syscall.Stat_t)
		rel, _ := filepath.Rel(dir, name)
		line := []string{fmt.Sprintf("%v %d:%d %s", info.Mode(), s.Uid, s.Gid, info.ModTime().UTC().Format(time.RFC3339Nano))}
		if target, err := os.Readlink(name); err == nil {
			line = append(line, "→ "+target)
		}
		if one, again := first[s.Ino]; again {
			line = append(line, "= "+one)
		}
		first[s.Ino] = rel
		for _, attribute := range []string{"user.tranquil", "system.posix_acl_access", "system.posix_acl_default"} {
			value := make([]byte, 128)
			if n, err := unix.Lgetxattr(name, attribute, value); err == nil {
				line = append(line, fmt.Sprintf("%s=%x", attribute, value[:n]))
			}
		}
		all[rel] = strings.Join(line, " ")
		return nil
	}))
	return all
}

// decorate gives a state one of everything that is not content.
func decorate(b *bench) {
	at := func(name string) string { return filepath.Join(b.live, name) }
	b.put("deep/same", "of two names")
	must(b, os.Link(at("deep/same"), at("same")))
	must(b, os.Symlink("../a", at("deep/link")))
	must(b, os.MkdirAll(at("empty/er"), 0o710))
	must(b, os.Chmod(at("a"), 0o4755))
	must(b, os.Chmod(at("b"), 0o400))
	must(b, os.Chmod(at("empty"), 0o777|fs.ModeSticky))
	acl := []byte{ // the owner, user 1234, the group, the mask, others
		2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xd2, 4, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
		0x10, 0, 4, 0, 255, 255, 255, 255, 0x20, 0, 0, 0, 255, 255, 255, 255,
	}
	for name, attribute := range map[string]string{"a": "user.tranquil", "deep": "user.tranquil", "deep/c": "system.posix_acl_access", "empty": "system.posix_acl_default"} {
		value := []byte("x")
		if strings.HasPrefix(attribute, "system") {
			value = acl
		}
		if err := unix.Lsetxattr(at(name), attribute, value, 0); err != nil {
			b.Logf("without %s: %v", attribute, err)
		}
	}
	if os.Geteuid() == 0 {
		for _, name := range []string{".", "deep", "deep/link", "deep/same", "b"} {
			must(b, os.Lchown(at(name), 1234, 4321))
		}
	}
}

// saved makes a generation that has all that the live state has.
func (b *bench) saved(gen Generation) string {
	b.Helper()
	dir, err := b.Fresh(component, gen)
	must(b, err)
	link(b, b.live, dir)
	must(b, filepath.WalkDir(b.live, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(b.live, name)
		info, err := entry.Info()
		must(b, err)
		s := info.Sys().(*syscall.Stat_t)
		must(b, os.Lchown(filepath.Join(dir, rel), int(s.Uid), int(s.Gid)))
		must(b, os.Chmod(filepath.Join(dir, rel), info.Mode()))
		value := make([]byte, 128)
		for _, attribute := range []string{"user.tranquil", "system.posix_acl_default"} {
			if n, err := unix.Lgetxattr(name, attribute, value); err == nil {
				must(b, unix.Lsetxattr(filepath.Join(dir, rel), attribute, value[:n], 0))
			}
		}
		return nil
	}))
	return dir
}

// TestBelongings: a transform changes contents. Whose the files are, what may
// be done with them and when they were written stays, whatever is changed
// between rehearsal and stop.
func TestBelongings(t *testing.T) {
	split := []host.Step{{From: 1, To: 2, Module: "m", Digest: "sha256:m", Split: host.SplitLines}}
	two := append(up, host.Step{From: 2, To: 3, Module: "n", Digest: "sha256:n"})
	for way, steps := range map[string][]host.Step{"copy": nil, "filter": up, "chain": two, "split": split} {
		for when, change := range map[string]func(*bench){
			"without a rehearsal": nil,
			"as rehearsed":        func(*bench) {},
			"with other content":  func(b *bench) { b.put("a", "another"); b.put("same", "another") },
			"with other modes": func(b *bench) {
				must(b, os.Chmod(filepath.Join(b.live, "a"), 0o2710))
				must(b, os.Chmod(filepath.Join(b.live, "deep"), 0o750))
				must(b, os.Chmod(filepath.Join(b.live, "b"), 0o600)) // or nobody but root could
				must(b, unix.Lsetxattr(filepath.Join(b.live, "b"), "user.tranquil", []byte("new"), 0))
				must(b, os.Chmod(filepath.Join(b.live, "b"), 0o400))
				must(b, unix.Lremovexattr(filepath.Join(b.live, "a"), "user.tranquil"))
			},
			"with another link": func(b *bench) {
				must(b, os.Remove(filepath.Join(b.live, "deep/link")))
				must(b, os.Symlink("../b", filepath.Join(b.live, "deep/link")))
			},
			"with links cut": func(b *bench) {
				must(b, os.Remove(filepath.Join(b.live, "same")))
				b.put("same", "one of its own")
			},
		} {
			t.Run(way+"/"+when, func(t *testing.T) {
				b := newBench(t)
				decorate(b)
				if change != nil {
					b.rehearse(steps)
					change(b)
				}
				_, err := b.Settle(component, 1)
				must(b, err)
				dir := b.saved(2)
				must(b, b.Seal(b.Context(), component, 2, meta("1.0.0")))
				want := belongings(b, dir)
				must(b, b.Drop(component, 1))
				if steps == nil {
					b.Manager.transformer = &host.Host{Cache: b.TempDir()}
				}
				b.transform(steps)
				made, _, err := b.Load(b.Context(), component, 3)
				must(b, err)
				if d := cmp.Diff(want, belongings(b, made)); d != "" {
					b.Errorf("(-saved +transformed):\n%s", d)
				}
				b.book(made)
			})
		}
	}
}

// book checks that what was touched last is still known: else it would be
// read again while the component is stopped.
func (b *bench) book(dir string) {
	b.Helper()
	must(b, filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && !b.memory[component].book.same(name) {
			b.Errorf("%s would be read again", name)
		}
		return err
	}))
}

// TestBelongingsOfTree: a transform in tree mode decides on names and
// permissions; the rest goes by name, and new files belong to whom the state
// belongs.
func TestBelongingsOfTree(t *testing.T) {
	b := newBench(t)
	must(b, os.Chmod(filepath.Join(b.live, "a"), 0o4755))
	if os.Geteuid() == 0 {
		must(b, os.Chown(b.live, 1234, 4321))
		must(b, os.Chown(filepath.Join(b.live, "a"), 77, 78))
	}
	b.Manager.transformer = grown{}
	dir := b.saved(2)
	must(b, b.Seal(b.Context(), component, 2, meta("1.0.0")))
	want := belongings(b, dir)
	b.transform([]host.Step{{From: 1, To: 2, Module: "m", Digest: "sha256:m", Mode: host.Tree}})
	made, _, err := b.Load(b.Context(), component, 3)
	must(b, err)
	got := belongings(b, made)
	if !strings.HasPrefix(got["new"], strings.Replace("-rw-r----- 1234:4321 ", "1234:4321", owner(b, b.live), 1)) {
		b.Errorf("the new file is %s", got["new"])
	}
	delete(got, "new")
	if d := cmp.Diff(want, got); d != "" {
		b.Errorf("(-saved +transformed):\n%s", d)
	}
}

func owner(t testing.TB, name string) string {
	info, err := os.Lstat(name)
	must(t, err)
	s := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", s.Uid, s.Gid)
}

// A grown state has a file more.
type grown struct{}

func (grown) Key(host.Step) string { return "grown" }

func (grown) Refresh(_ context.Context, _ host.Step, in, out string, _ []host.File, _ func(int64, int64)) (host.Report, error) {
	if err := os.CopyFS(out, os.DirFS(in)); err != nil {
		return host.Report{}, err
	}
	err := filepath.WalkDir(in, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(in, name)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return os.Chmod(filepath.Join(out, rel), info.Mode().Perm())
	})
	if err != nil {
		return host.Report{}, err
	}
	new := filepath.Join(out, "new")
	if err := os.WriteFile(new, nil, 0o640); err != nil {
		return host.Report{}, err
	}
	return host.Report{}, os.Chmod(new, 0o640)
}
