package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, content}
}

func link(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}, ""}
}

func special(kind byte, name string) entry {
	return entry{tar.Header{Typeflag: kind, Name: name, Linkname: "file", Mode: 0o755}, ""}
}

// layer writes entries as they are, as a hostile author would.
func layer(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		if err := tw.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	long := strings.Repeat("d/", maxPath/2) + "f"
	for name, test := range map[string]struct {
		entries []entry
		want    string
	}{
		"parent":               {[]entry{file("../x", "")}, "clean relative path"},
		"parent inside":        {[]entry{file("a/../../x", "")}, "clean relative path"},
		"absolute":             {[]entry{file("/tmp/x", "")}, "clean relative path"},
		"dot":                  {[]entry{file("./x", "")}, "clean relative path"},
		"backslash":            {[]entry{file(`..\x`, "")}, "clean relative path"},
		"root":                 {[]entry{special(tar.TypeDir, "./")}, "clean relative path"},
		"too long":             {[]entry{file(long, "")}, "clean relative path"},
		"link absolute":        {[]entry{link("l", "/etc")}, "leads out"},
		"link parent":          {[]entry{link("l", "..")}, "leads out"},
		"link deep parent":     {[]entry{link("a/l", "../../x")}, "leads out"},
		"link through link":    {[]entry{link("a/b/up", "../.."), link("l", "a/b/up/../x")}, "leads out"},
		"link empty":           {[]entry{link("a/l", "")}, "leads out"},
		"file below link":      {[]entry{special(tar.TypeDir, "d/"), link("l", "d"), file("l/x", "")}, "no directory"},
		"file over link":       {[]entry{link("l", "x"), file("l", "")}, "twice"},
		"file below file":      {[]entry{file("f", ""), file("f/x", "")}, "no directory"},
		"link over directory":  {[]entry{file("d/x", ""), link("d", "e")}, "exists"},
		"hard link":            {[]entry{file("file", ""), special(tar.TypeLink, "h")}, "no file, directory or symlink"},
		"device":               {[]entry{special(tar.TypeChar, "null")}, "no file, directory or symlink"},
		"fifo":                 {[]entry{special(tar.TypeFifo, "fifo")}, "no file, directory or symlink"},
		"setuid":               {[]entry{{tar.Header{Typeflag: tar.TypeReg, Name: "su", Mode: 0o4755}, ""}}, "only permission bits"},
		"too large":            {[]entry{file("x", strings.Repeat("x", 600)), file("y", strings.Repeat("x", 600))}, "more than 1000 bytes"},
		"too many":             {[]entry{file("1", ""), file("2", ""), file("3", ""), file("4", ""), file("5", "")}, "4 entries"},
		"directory over limit": {[]entry{special(tar.TypeDir, "1/"), special(tar.TypeDir, "2/"), special(tar.TypeDir, "3/"), special(tar.TypeDir, "4/"), special(tar.TypeDir, "5/")}, "4 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			err := Unpack(bytes.NewReader(layer(t, test.entries...)), filepath.Join(base, "in"), Limits{Bytes: 1000, Entries: 4}, false)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if left, _ := os.ReadDir(base); len(left) > 1 {
				t.Errorf("something got out: %v", left)
			}
		})
	}
}

// TestUnpackLeavesReserve: whatever the manifest says of an artifact, what is to
// stay free of the disk does.
func TestUnpackLeavesReserve(t *testing.T) {
	for name, reserve := range map[string]int64{"everything": math.MaxInt64 / 2, "hardly anything": 1} {
		err := Unpack(bytes.NewReader(layer(t, file("x", "x"))), filepath.Join(t.TempDir(), "in"), Limits{Reserve: reserve}, false)
		if full := errors.Is(err, syscall.ENOSPC); full != (name == "everything") {
			t.Errorf("%s is to stay free: %v", name, err)
		}
	}
}

// TestUnpackStopsBombs unpacks 64 MiB of padding after the end of the archive,
// and a gzip stream that is no tar but long.
func TestUnpackStopsBombs(t *testing.T) {
	zeros := make([]byte, 64<<20)
	for name, content := range map[string][]byte{
		"padding": append(bytes.Repeat([]byte{0}, 1024), zeros...),
		"no end":  bytes.Repeat(layerHeader(t), 4096),
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			zw := gzip.NewWriter(&out)
			if _, err := zw.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := zw.Close(); err != nil {
				t.Fatal(err)
			}
			if err := Unpack(&out, filepath.Join(t.TempDir(), "in"), Limits{Bytes: 1 << 20, Entries: 16}, false); err == nil {
				t.Error("bomb was unpacked")
			}
		})
	}
}

// layerHeader returns one block that announces a file of 1 GiB.
func layerHeader(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := tar.NewWriter(&out).WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpackKeepsModesAndLinks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "in")
	exe := file("bin/run", "#!/bin/sh\n")
	exe.Mode = 0o750
	closed := special(tar.TypeDir, "closed/")
	closed.Mode = 0o500
	err := Unpack(bytes.NewReader(layer(t, closed, exe, file("closed/f", "x"), link("run", "bin/run"))), dir, Limits{}, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"bin/run": 0o750, "closed/f": 0o644, "closed": fs.ModeDir | 0o700} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v: %v", name, info.Mode(), want, err)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "run")); err != nil || target != "bin/run" {
		t.Errorf("link to %q: %v", target, err)
	}
}

func TestUnpackChecksDigest(t *testing.T) {
	content := layer(t, file("x", "y"))
	d := Descriptor{Digest: DigestOf(content), Size: int64(len(content))}
	if err := Unpack(NewVerifyReader(bytes.NewReader(content), d), filepath.Join(t.TempDir(), "in"), Limits{}, false); err != nil {
		t.Error(err)
	}
	d.Digest = DigestOf(nil)
	if err := Unpack(NewVerifyReader(bytes.NewReader(content), d), filepath.Join(t.TempDir(), "in"), Limits{}, false); !errors.Is(err, ErrDigest) {
		t.Errorf("got %v, want %v", err, ErrDigest)
	}
}

func TestUnpackWantsEmptyDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Unpack(bytes.NewReader(layer(t)), dir, Limits{}, false); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(layer(f, file("a/b", "x"), link("l", "a/b"), special(tar.TypeDir, "d/")))
	f.Add(layer(f, link("a/b/up", "../.."), link("l", "a/b/up/../x"), file("l/x", "")))
	f.Fuzz(func(t *testing.T, content []byte) {
		base := t.TempDir()
		_ = Unpack(bytes.NewReader(content), filepath.Join(base, "in"), Limits{Bytes: 1 << 20, Entries: 64}, false)
		if left, _ := os.ReadDir(base); len(left) > 1 {
			t.Errorf("something got out: %v", left)
		}
	})
}
