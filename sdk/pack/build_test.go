package pack

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// exampleDigest is the digest of testdata/example's manifest on any machine.
// It changes only with the format, the example or the pinned compressor.
const exampleDigest = "sha256:5fe170083bdbb5639ad7d9769c6061744ccd6068b76191ee9b98291cca2da0e0"

func build(t testing.TB, dir string) (*Package, string) {
	t.Helper()
	r, err := ReadRecipe(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, path, err := r.BuildFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p, path
}

func copyExample(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "example")
	if err := os.CopyFS(dir, os.DirFS("testdata/example")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestBuildIsDeterministic(t *testing.T) {
	p, path := build(t, "testdata/example")
	if p.Digest != exampleDigest {
		t.Errorf("digest %s, want %s", p.Digest, exampleDigest)
	}
	if got, want := filepath.Base(path), "application.greeter.greeter_v2_1_0.tar"; got != want {
		t.Errorf("file is named %s, want %s", got, want)
	}
	other := copyExample(t)
	err := filepath.WalkDir(other, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type() == fs.ModeSymlink {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if err := os.Chmod(path, info.Mode()&0o700); err != nil { // as umask 077 leaves it
			return err
		}
		return os.Chtimes(path, time.Now(), time.Unix(1e9, 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	want := readFile(t, path)
	t.Chdir(filepath.Dir(other))
	if _, path = build(t, "example"); !bytes.Equal(readFile(t, path), want) {
		t.Error("other times, modes and working directory made other bytes")
	}
}

func TestRoundTrip(t *testing.T) {
	built, path := build(t, "testdata/example")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if diff := cmp.Diff(built, l.Package); diff != "" {
		t.Errorf("read is not what was built (-built +read):\n%s", diff)
	}
	if err := l.Verify(); err != nil {
		t.Error(err)
	}
	a, err := l.Package.Artifact(Platform{OS: "linux", Arch: "arm", Variant: "v7"})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := l.Blob(a.Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	dir := filepath.Join(t.TempDir(), "out")
	if err := Unpack(blob, dir, Limits{}, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, "testdata/example/component"), tree(t, dir)); diff != "" {
		t.Errorf("unpacked is not what was packed (-packed +unpacked):\n%s", diff)
	}
}

// tree describes all below dir: kind, executable bit, content.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content := ""
		switch info.Mode().Type() {
		case 0:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(b)
		case fs.ModeSymlink:
			if content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		files[strings.TrimPrefix(path, dir)] = (info.Mode() & (fs.ModeType | 0o100)).String() + content
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuildLayout(t *testing.T) {
	r, err := ReadRecipe("testdata/example")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := r.Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Verify(); err != nil || l.Package.Digest != p.Digest {
		t.Errorf("layout %s, built %s: %v", l.Package.Digest, p.Digest, err)
	}
	if _, err := r.Build(dir); err == nil {
		t.Error("built into a directory that is not empty")
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"link out": {func(dir string) error { return os.Symlink("../../x", dir+"/component/l") }, "leads out"},
		"setuid": {
			func(dir string) error { return os.Chmod(dir+"/component/greet.sh", 0o755|fs.ModeSetuid) }, "setuid",
		},
		"empty artifact": {func(dir string) error {
			return errors.Join(os.RemoveAll(dir+"/component"), os.Mkdir(dir+"/component", 0o755))
		}, "holds no files"},
		"no wasm": {
			func(dir string) error { return os.WriteFile(dir+"/nothing.wasm", []byte("#!/bin/sh\n"), 0o644) }, "not a WebAssembly module",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyExample(t)
			if err := test.spoil(dir); err != nil {
				t.Fatal(err)
			}
			r, err := ReadRecipe(dir)
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "p.tar")
			if _, _, err = r.BuildFile(out); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("left a file behind")
			}
		})
	}
}

func TestBuildRefusesOutputInArtifact(t *testing.T) {
	dir := copyExample(t)
	r, err := ReadRecipe(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.BuildFile(filepath.Join(dir, "component", "p.tar")); err == nil || !strings.Contains(err.Error(), "inside the artifact") {
		t.Errorf("got %v", err)
	}
}
