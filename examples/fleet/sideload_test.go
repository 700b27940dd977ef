package fleet

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestSideload updates a device that wants signatures, has state, and has lost its
// backend, from what is on a USB stick.
func TestSideload(t *testing.T) {
	t.Parallel()
	s, err := rig.StartTrusting(t.Context(), built, t.TempDir())
	attend(t, s, err)
	put(t, s, "1.0.0")
	update(t, s, "1.0.0")
	good := bundle(t, s)
	unsigned := alike(t, good, func(string) string {
		file, err := s.Package(t.Context(), "2.0.0", slices.Concat(quick, []rig.Edit{rig.Replace("2.0.0", "6.6.6")})...)
		if err != nil {
			t.Fatal(err)
		}
		return file
	})
	tampered := alike(t, good, func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), filepath.Base(file))
		if err := os.WriteFile(out, bytes.Replace(b, []byte("\x1f\x8b\x08"), []byte("\x1f\x8b\x09"), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		return out
	})
	s.Backend.Stop()

	before, _ := check(t, s)
	for dir, want := range map[string]string{
		unsigned:    "author does not list application/sensor-adapter/6.6.6",
		tampered:    "is damaged",
		t.TempDir(): "there is no package in",
	} {
		out, err := s.AgentCLI(t.Context(), "sideload", dir, "--yes")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s%v, want %q", out, err, want)
		}
	}
	if after, _ := check(t, s); after != before {
		t.Errorf("the component was touched: %+v became %+v", before, after)
	}
	out, err := s.AgentCLI(t.Context(), "sideload", good, "--yes")
	if err != nil || !strings.Contains(out, "from version 1.0.0 to 2.0.0") || !strings.Contains(out, "to 2.0.0: updated") {
		t.Errorf("%s%v", out, err)
	}
	if running, _ := check(t, s); running.Version != "2.0.0" {
		t.Errorf("version %s runs", running.Version)
	}
}

// bundle is a stick with version 2.0.0, which the file server does not have.
func bundle(t *testing.T, s *rig.System) (dir string) {
	t.Helper()
	dir = t.TempDir()
	file, err := s.Package(t.Context(), "2.0.0", quick...)
	if err == nil {
		err = s.Sign(t.Context(), file)
	}
	if err == nil {
		_, err = s.CLI(t.Context(), "package", "bundle", file, "-o", dir, "--root", filepath.Join(s.Dir, "trust", "root.json"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// alike is another stick with the same metadata, and another package.
func alike(t *testing.T, stick string, other func(file string) string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files, err := filepath.Glob(filepath.Join(stick, "*.tar"))
	if err != nil || len(files) != 1 {
		t.Fatalf("on the stick: %v, %v", files, err)
	}
	file := other(files[0])
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), b, 0o600)
	}
	if err == nil {
		err = os.CopyFS(filepath.Join(dir, "trust"), os.DirFS(filepath.Join(stick, "trust")))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
