package sideload

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// build writes a package into dir, as a file under its name or as a layout.
func build(t testing.TB, dir, version string, layout bool) string {
	t.Helper()
	source := t.TempDir()
	recipe := "type = \"application\"\nname = \"a\"\nversion = \"" + version + "\"\n[[artifact]]\npath = \"tranquil.toml\"\n"
	if err := os.WriteFile(filepath.Join(source, pack.RecipeFile), []byte(recipe), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := pack.ReadRecipe(source)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "layout")
	if layout {
		_, err = r.Build(path)
	} else {
		_, path, err = r.BuildFile(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestStick finds what is there, and brings it whole.
func TestStick(t *testing.T) {
	dir := t.TempDir()
	if _, err := Find(dir); err == nil || !strings.Contains(err.Error(), "there is no package in") {
		t.Errorf("an empty stick: %v", err)
	}
	file := build(t, dir, "1.0.0", false)
	if s, err := Find(dir); err != nil || s != (Stick{Package: file}) {
		t.Errorf("without metadata: %+v, %v", s, err)
	}
	metadata := map[string][]byte{"1.root.json": []byte("root"), "timestamp.json": []byte("time")}
	for name, b := range metadata {
		write(t, filepath.Join(dir, folder, name), string(b))
	}
	write(t, filepath.Join(dir, folder, "README"), "no metadata")
	write(t, filepath.Join(dir, "holiday.jpg"), "no package")
	layout := build(t, dir, "1.0.0", true)
	for _, path := range []string{dir, file, layout} {
		s, err := Find(path)
		if err != nil || s.Trust != filepath.Join(dir, folder) {
			t.Fatalf("%s: %+v, %v", path, s, err)
		}
		var out bytes.Buffer
		if err := s.Write(&out); err != nil {
			t.Fatal(err)
		}
		l, err := Read(&out)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(metadata, l.Metadata); diff != "" {
			t.Error(diff)
		}
		got, err := io.ReadAll(l.Package)
		want, _ := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the package comes as %d bytes, is %d: %v", path, len(got), len(want), err)
		}
		if _, err := l.Fetch("2.root.json"); !errors.Is(err, trust.ErrNotFound) {
			t.Errorf("what is not there: %v", err)
		}
	}
	build(t, dir, "2.0.0", false)
	if _, err := Find(dir); err == nil || !strings.Contains(err.Error(), "several packages") {
		t.Errorf("two packages: %v", err)
	}
	if _, err := Find(filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

// archive is a tar of files that say more than they have.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRefused(t *testing.T) {
	root := tar.Header{Typeflag: tar.TypeReg, Name: "1.root.json", Size: 4}
	var many []tar.Header
	for i := range int64(maxBytes/trust.MaxSize + 1) {
		many = append(many, tar.Header{Typeflag: tar.TypeReg, Name: trust.File(trust.Root, i+1), Size: trust.MaxSize})
	}
	for name, b := range map[string][]byte{
		"another name": archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "../1.root.json"}),
		"a link":       archive(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "1.root.json", Linkname: "/etc/passwd"}),
		"twice":        archive(t, root, root),
		"too large":    archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "1.root.json", Size: trust.MaxSize + 1}),
		"too much":     archive(t, many...),
		"half":         archive(t, root)[:514],
		"no tar":       bytes.Repeat([]byte("x"), 1024),
	} {
		if l, err := Read(bytes.NewReader(b)); err == nil {
			t.Errorf("%s is taken: %d files", name, len(l.Metadata))
		}
	}
}

// FuzzRead reads what anybody may have written.
func FuzzRead(f *testing.F) {
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeReg, Name: "1.root.json", Size: 4}))
	f.Add(archive(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		total := 0
		for name, b := range l.Metadata {
			if _, _, err := trust.ParseFile(name); err != nil {
				t.Error(err)
			}
			total += len(b)
		}
		if total > maxBytes || len(l.Metadata) > maxFiles {
			t.Errorf("%d files of %d bytes", len(l.Metadata), total)
		}
	})
}

// TestHugeMetadata: a file of metadata without end is refused before it is in memory.
func TestHugeMetadata(t *testing.T) {
	dir := t.TempDir()
	s := Stick{Package: build(t, dir, "1.0.0", false), Trust: filepath.Join(dir, "trust")}
	huge := filepath.Join(s.Trust, "timestamp.json")
	write(t, huge, "{}")
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Fatal(err)
	}
	var sent bytes.Buffer
	if err := s.Write(&sent); !errors.Is(err, trust.ErrEndless) || sent.Len() > trust.MaxSize {
		t.Errorf("%d bytes are sent, %v", sent.Len(), err)
	}
}
