package state

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

const component = "application/sensor-adapter"

// Without steps the host copies, which needs no sandbox.
func open(t *testing.T) *Manager {
	t.Helper()
	m, err := Open(filepath.Join(t.TempDir(), "state"), &host.Host{Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func meta(version string) Meta {
	return Meta{Schema: 1, Version: version, Time: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
}

// save makes a generation and seals it.
func save(t *testing.T, m *Manager, gen Generation, content string) string {
	t.Helper()
	dir, err := m.Fresh(component, gen)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "deep", "file"), content)
	if err := os.Symlink("/nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := m.Seal(t.Context(), component, gen, meta("1.0.0")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSealAndLoad(t *testing.T) {
	m := open(t)
	want := save(t, m, 1, "content")
	dir, got, err := m.Load(t.Context(), component, 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(meta("1.0.0"), got); diff != "" || dir != want {
		t.Errorf("loaded %s, %s", dir, diff)
	}
	if err := m.Seal(t.Context(), component, 1, meta("1.0.1")); err != nil {
		t.Fatal(err)
	}
	if _, got, err = m.Load(t.Context(), component, 1); err != nil || got.Version != "1.0.1" {
		t.Errorf("sealed again: %v, %v", got, err)
	}
}

func TestUnsealedIsGarbage(t *testing.T) {
	m := open(t)
	dir, err := m.Fresh(component, 1)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "half"), "written")
	if _, _, err := m.Load(t.Context(), component, 1); !errors.Is(err, ErrNotSealed) {
		t.Errorf("load: %v", err)
	}
	if _, err := m.Transform(t.Context(), component, 1, 2, nil, nil); !errors.Is(err, ErrNotSealed) {
		t.Errorf("transform: %v", err)
	}
	if entries, err := m.List(component, Needs{}); err != nil || len(entries) > 0 {
		t.Errorf("list: %v, %v", entries, err)
	}
	if next, err := m.Next(component); err != nil || next != 2 {
		t.Errorf("next: %v, %v", next, err)
	}
	if dir, err = m.Fresh(component, 1); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("leftovers: %v, %v", left, err)
	}
}

// endsSoon is a context that ends after it was asked so often.
type endsSoon struct {
	context.Context
	after *int
}

func (e endsSoon) Err() error {
	if *e.after--; *e.after < 0 {
		return context.Canceled
	}
	return nil
}

// TestEndsWithContext: while a file is hashed a state is neither sealed nor
// found damaged when the process is to end; later it is whole.
func TestEndsWithContext(t *testing.T) {
	m := open(t)
	dir, err := m.Fresh(component, 1)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "file"), strings.Repeat("x", 3<<20))
	soon := func() context.Context {
		after := 5 // one per name, and then in the file
		return endsSoon{t.Context(), &after}
	}
	if err := m.Seal(soon(), component, 1, meta("1.0.0")); !errors.Is(err, context.Canceled) {
		t.Errorf("seal: %v", err)
	}
	if _, _, err := m.Load(t.Context(), component, 1); !errors.Is(err, ErrNotSealed) {
		t.Errorf("load what is not sealed: %v", err)
	}
	if err := m.Seal(t.Context(), component, 1, meta("1.0.0")); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	delete(m.memory, component) // as after a restart
	m.mu.Unlock()
	if _, _, err := m.Load(soon(), component, 1); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) {
		t.Errorf("load: %v", err)
	}
	if _, _, err := m.Load(t.Context(), component, 1); err != nil {
		t.Errorf("load: %v", err)
	}
}

// TestRelease: what is sealed stays, also if the seal is damaged.
func TestRelease(t *testing.T) {
	m := open(t)
	if err := m.Release(component); err != nil {
		t.Fatal(err)
	}
	save(t, m, 1, "content")
	put(t, filepath.Join(filepath.Dir(save(t, m, 2, "content")), sealName), "garbage")
	for gen := range Generation(2) {
		if _, err := m.Fresh(component, 3+gen); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := m.Release(component); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := m.generations(component); err != nil || !cmp.Equal(all, []Generation{1, 2}) {
		t.Errorf("left are %v, %v", all, err)
	}
}

func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"changed": func(dir string) error { return os.WriteFile(filepath.Join(dir, "deep/file"), []byte("c0ntent"), 0) },
		"added":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "more"), nil, 0o600) },
		"removed": func(dir string) error { return os.Remove(filepath.Join(dir, "deep/file")) },
		"renamed": func(dir string) error { return os.Rename(filepath.Join(dir, "deep"), filepath.Join(dir, "peed")) },
		"mode":    func(dir string) error { return os.Chmod(filepath.Join(dir, "deep/file"), 0o640) },
		"link": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "link")), os.Symlink("elsewhere", filepath.Join(dir, "link")))
		},
		"half seal": func(dir string) error { return os.Truncate(filepath.Join(dir, "..", sealName), 10) },
		"version":   func(dir string) error { return edit(dir, "1.0.0", "3.0.0") },
		"schema":    func(dir string) error { return edit(dir, `"schema": 1`, `"schema": 2`) },
	} {
		t.Run(name, func(t *testing.T) {
			m := open(t)
			if err := damage(save(t, m, 1, "content")); err != nil {
				t.Fatal(err)
			}
			if _, _, err := m.Load(t.Context(), component, 1); !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// edit changes the seal of the generation with these files.
func edit(dir, old, now string) error {
	name := filepath.Join(dir, "..", sealName)
	data, err := os.ReadFile(name)
	return errors.Join(err, os.WriteFile(name, []byte(strings.Replace(string(data), old, now, 1)), 0))
}

// saveAs is save for any component.
func saveAs(t *testing.T, m *Manager, component string, gen Generation, content string) string {
	t.Helper()
	dir, err := m.Fresh(component, gen)
	must(t, err)
	put(t, filepath.Join(dir, "file"), content)
	must(t, m.Seal(t.Context(), component, gen, meta("1.0.0")))
	return filepath.Dir(dir)
}

func exchange(t *testing.T, a, b string) {
	t.Helper()
	must(t, os.Rename(a, a+".away"))
	must(t, os.Rename(b, a))
	must(t, os.Rename(a+".away", b))
}

// A saved state is only what it is where it was saved: whole, but of another
// component or another generation, it is refused, and kept until it is put back.
func TestMisplaced(t *testing.T) {
	const other = "application/other"
	for name, there := range map[string]struct {
		component string
		gen       Generation
	}{"another component": {other, 2}, "another generation": {component, 3}} {
		t.Run(name, func(t *testing.T) {
			m := open(t)
			a, b := saveAs(t, m, component, 2, "mine"), saveAs(t, m, there.component, there.gen, "not mine")
			exchange(t, a, b)
			m, err := Open(m.root, m.transformer)
			must(t, err)
			_, _, err = m.Load(t.Context(), component, 2)
			if want := fmt.Sprintf("generation %d of %s", there.gen, there.component); !errors.Is(err, ErrMisplaced) || !strings.Contains(err.Error(), want) {
				t.Errorf("load: %v", err)
			}
			if _, err := m.Transform(t.Context(), component, 2, 9, nil, nil); !errors.Is(err, ErrMisplaced) {
				t.Errorf("transform: %v", err)
			}
			if _, err := m.Show(component, 2); !errors.Is(err, ErrMisplaced) {
				t.Errorf("show: %v", err)
			}
			if err := m.Export(component, 2, io.Discard); !errors.Is(err, ErrMisplaced) {
				t.Errorf("export: %v", err)
			}
			must(t, m.Prune(component, Needs{}))
			entries, err := m.List(component, Needs{})
			if err != nil || len(entries) == 0 || !entries[0].Damaged {
				t.Errorf("list: %+v, %v", entries, err)
			}
			exchange(t, a, b)
			if _, _, err := m.Load(t.Context(), component, 2); err != nil {
				t.Errorf("put back: %v", err)
			}
		})
	}
}

// Seals of older agents do not say whose the files are: they are believed, and
// say it from the next time that states are retired.
func TestOldSeal(t *testing.T) {
	m := open(t)
	a, b := saveAs(t, m, component, 2, "mine"), saveAs(t, m, component, 3, "newer")
	old := func() {
		for _, dir := range []string{a, b} {
			s, err := readSeal(dir)
			must(t, err)
			s.Component, s.Generation, s.Binding = "", 0, ""
			must(t, writeSeal(dir, s))
		}
	}
	old()
	exchange(t, a, b)
	if _, _, err := m.Load(t.Context(), component, 2); err != nil {
		t.Errorf("an old seal: %v", err)
	}
	exchange(t, a, b)
	must(t, m.Prune(component, Needs{}))
	if _, _, err := m.Load(t.Context(), component, 2); err != nil {
		t.Errorf("sealed anew: %v", err)
	}
	exchange(t, a, b)
	if _, _, err := m.Load(t.Context(), component, 2); !errors.Is(err, ErrMisplaced) {
		t.Errorf("exchanged: %v", err)
	}
}

func TestSealRefusesSpecialFiles(t *testing.T) {
	m := open(t)
	dir, err := m.Fresh(component, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Seal(t.Context(), component, 1, meta("1.0.0")); err == nil || !strings.Contains(err.Error(), "pipe is neither") {
		t.Errorf("error %v", err)
	}
}

func TestTransform(t *testing.T) {
	m := open(t)
	save(t, m, 1, "content")
	for range 2 { // the second time over an unsealed result
		if _, err := m.Transform(t.Context(), component, 1, 2, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := m.Load(t.Context(), component, 2); !errors.Is(err, ErrNotSealed) {
		t.Errorf("the result is sealed: %v", err)
	}
	if err := m.Seal(t.Context(), component, 2, meta("2.0.0")); err != nil {
		t.Fatal(err)
	}
	dir, _, err := m.Load(t.Context(), component, 2)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "deep/file")); err != nil || string(content) != "content" {
		t.Errorf("got %q, %v", content, err)
	}
}

type failing struct{ error }

func (failing) Key(host.Step) string { return "failing" }

func (f failing) Refresh(context.Context, host.Step, string, string, []host.File, func(int64, int64)) (host.Report, error) {
	return host.Report{}, f
}

func TestTransformFails(t *testing.T) {
	m, err := Open(t.TempDir(), failing{errors.New("no")})
	if err != nil {
		t.Fatal(err)
	}
	save(t, m, 1, "content")
	save(t, m, 2, "of an update before")
	if _, err := m.Transform(t.Context(), component, 1, 2, nil, nil); err == nil {
		t.Error("no error")
	}
	if _, _, err := m.Load(t.Context(), component, 2); !errors.Is(err, ErrNotSealed) {
		t.Errorf("the old result is still there: %v", err)
	}
}

func TestComponentNames(t *testing.T) {
	m := open(t)
	for _, name := range []string{"", "a", "a/", "/b", "../b", "a/..", "a/b/c", "a/b\x00"} {
		if _, err := m.Fresh(name, 1); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

// Bindings are on the disk: they must not change.
func TestBinding(t *testing.T) {
	s := seal{Meta: Meta{Schema: 1, Version: "1.0.0", Package: "sha256:p"}, Digest: "sha256:00"}.bind(component, 7)
	sum := sha256.Sum256([]byte(`"application/sensor-adapter" 7 1 "1.0.0" "sha256:p" "sha256:00"` + "\n"))
	if want := fmt.Sprintf("sha256:%x", sum); s.Binding != want {
		t.Errorf("%s, want %s", s.Binding, want)
	}
}

func FuzzParseSeal(f *testing.F) {
	good, err := json.Marshal(seal{Meta: meta("1.0.0"), Digest: "sha256:00"}.bind(component, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:10])
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseSeal(data); (err == nil) != (s.Digest != "") {
			t.Errorf("got %+v, %v", s, err)
		}
	})
}

// The digest of a state is on the disk, in seals: it must not change.
func TestListingDigest(t *testing.T) {
	l := listing{
		{path: ".", mode: 0o700 | os.ModeDir}, {path: "a \"b\"\n", mode: 0o640, size: 12, digest: "sha256:00"}, {path: "ü", mode: 0o4755, size: 1 << 40, digest: "sha256:01"},
	}
	sum := sha256.New()
	for _, n := range l {
		fmt.Fprintf(sum, "%q %o %t %d %s\n", n.path, n.mode.Perm(), n.mode.IsDir(), n.size, n.digest)
	}
	if want := fmt.Sprintf("sha256:%x", sum.Sum(nil)); l.digest() != want {
		t.Errorf("%s, want %s", l.digest(), want)
	}
}
