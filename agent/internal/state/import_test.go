package state

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// varied makes a state of all kinds that a state can have.
func varied(t *testing.T, dir string) {
	t.Helper()
	put(t, filepath.Join(dir, "a"), "content")
	must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	must(t, os.Chmod(filepath.Join(dir, "a"), 0o750|fs.ModeSetuid|fs.ModeSetgid))
	put(t, filepath.Join(dir, "c", "d"), "more")
	must(t, os.Mkdir(filepath.Join(dir, "c", "empty"), 0o700))
	must(t, os.Symlink("../a", filepath.Join(dir, "c", "link")))
	must(t, os.Symlink("/nowhere", filepath.Join(dir, "away")))
	hole, err := os.Create(filepath.Join(dir, "hole"))
	must(t, err)
	_, err = hole.WriteAt([]byte("end"), 1<<20)
	must(t, errors.Join(err, hole.Close()))
	if err := unix.Setxattr(filepath.Join(dir, "c"), "user.note", []byte("a\x00b"), 0); err != nil {
		t.Log("NOT TESTED: extended attributes:", err)
	}
	if os.Geteuid() == 0 {
		must(t, os.Lchown(filepath.Join(dir, "c", "link"), 1, 2))
		must(t, os.Chown(filepath.Join(dir, "c", "d"), 65534, 12))
	} else {
		t.Log("NOT TESTED: owners, which only root may change")
	}
	long := time.Date(2020, 1, 2, 3, 4, 5, 6789, time.UTC)
	for _, name := range []string{"a", "c/d", "c/empty"} {
		must(t, os.Chtimes(filepath.Join(dir, name), long, long))
	}
	must(t, os.Chmod(filepath.Join(dir, "c"), 0o550|fs.ModeSticky))
	must(t, os.Chmod(dir, 0o750))
	must(t, os.Chtimes(dir, long, long))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "c"), 0o700) })
}

// tree tells all of a state: content, what belongs to files, and which are one.
func tellTree(t *testing.T, dir string) (all []string) {
	t.Helper()
	first := map[replica.Inode]string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		must(t, err)
		info, err := replica.Look(path)
		must(t, err)
		b, err := replica.Of(path)
		must(t, err)
		name, err := filepath.Rel(dir, path)
		must(t, err)
		var content string
		switch {
		case info.Symlink():
			content, err = os.Readlink(path)
		case info.Regular():
			var data []byte
			data, err = os.ReadFile(path)
			content = string(data)
		}
		must(t, err)
		same := first[info.Inode()]
		if same == "" {
			first[info.Inode()] = name
		}
		all = append(all, fmt.Sprintf("%s %q %+v = %s", name, content, b, same))
		return nil
	}))
	return all
}

// TestImport: what was exported comes back as it was, with all that belongs to
// it.
func TestImport(t *testing.T) {
	m := open(t)
	dir, err := m.Fresh(component, 1)
	must(t, err)
	varied(t, dir)
	must(t, m.Seal(t.Context(), component, 1, meta("1.0.0")))
	var archive bytes.Buffer
	must(t, m.Export(component, 1, &archive))
	if _, err := m.Unpack(component, bytes.NewReader(archive.Bytes()), Intake{}); err == nil || !strings.Contains(err.Error(), "--outside") {
		t.Errorf("a link that leads out: %v", err)
	}
	for range 2 { // a second one gets another number
		got, err := m.Unpack(component, bytes.NewReader(archive.Bytes()), Intake{Outside: true})
		must(t, err)
		gen, err := m.Adopt(t.Context(), component, got)
		must(t, err)
		back, sealed, err := m.Load(t.Context(), component, gen)
		must(t, err)
		if diff := cmp.Diff(tellTree(t, dir), tellTree(t, back)); diff != "" || sealed.Version != "1.0.0" || sealed.Schema != 1 {
			t.Errorf("%+v %s", sealed, diff)
		}
		var again bytes.Buffer
		must(t, m.Export(component, gen, &again))
		if !bytes.Equal(archive.Bytes(), again.Bytes()) {
			t.Error("the archive of what was imported is another one")
		}
	}
	var size int64
	must(t, filepath.WalkDir(filepath.Join(m.root, component, "2", filesName), func(path string, _ fs.DirEntry, err error) error {
		var s unix.Stat_t
		must(t, errors.Join(err, unix.Lstat(path, &s)))
		size += s.Blocks * 512
		return nil
	}))
	if size > 512<<10 {
		t.Errorf("it takes %d bytes: its holes are gone", size)
	}
}

// hostile are archives that must not be taken, by what the refusal says.
func hostile(t testing.TB) map[string][]byte {
	t.Helper()
	file := tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o600}
	with := func(change func(*tar.Header), more ...tar.Header) []byte {
		h := file
		change(&h)
		return archiveOf(t, append([]tar.Header{h}, more...)...)
	}
	whole := archiveOf(t, file, tar.Header{Typeflag: tar.TypeReg, Name: "b", Mode: 0o600})
	deep := []tar.Header{{Typeflag: tar.TypeDir, Name: "d", Mode: 0o700}}
	for range maxDepth {
		deep = append(deep, tar.Header{Typeflag: tar.TypeDir, Name: deep[len(deep)-1].Name + "/d", Mode: 0o700})
	}
	return map[string][]byte{
		`"../a": the name leads out`:                with(func(h *tar.Header) { h.Name = "../a" }),
		`"/a": the name leads out`:                  with(func(h *tar.Header) { h.Name = "/a" }),
		`"d/../../a": the name leads out`:           with(func(h *tar.Header) { h.Name = "d/../../a" }),
		`"d/a": its directory does not come before`: with(func(h *tar.Header) { h.Name = "d/a" }),
		`"a/b": its directory does not come before`: with(func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, "." }, tar.Header{Typeflag: tar.TypeReg, Name: "a/b"}),
		`"a": it comes twice`:                       with(func(*tar.Header) {}, file),
		`link to "/etc/passwd", out of the state`:   with(func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, "/etc/passwd" }),
		`link to "../x", out of the state`:          with(func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, "../x" }),
		`link to "/etc/passwd", which is no file`:   with(func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeLink, "/etc/passwd" }),
		`link to "../a", which is no file`:          with(func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeLink, "../a" }),
		`it is of kind '3'`:                         with(func(h *tar.Header) { h.Typeflag = tar.TypeChar }),
		`it is of kind '6'`:                         with(func(h *tar.Header) { h.Typeflag = tar.TypeFifo }),
		`deeper than 64`:                            archiveOf(t, deep...),
		`more than the disk has room for`:           bomb(t),
		"it breaks off":                             whole[:len(whole)-2*blockSize],
		"no archive of a state":                     []byte(strings.Repeat("no tar", 1000)),
		"say it with --schema":                      archiveOf(t, file),
		`it is a state of "application/other"`:      labelled(t, label{Component: "application/other", Meta: meta("1.0.0"), Digest: "x"}),
		"does not hold what was exported":           labelled(t, label{Component: component, Meta: meta("1.0.0"), Digest: "x"}),
		"what it says of itself is incomplete":      labelled(t, label{Component: component, Digest: "x"}),
	}
}

func archiveOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func labelled(t testing.TB, l label) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(l.write(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bomb says that it has an exabyte.
func bomb(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o600, Size: 1 << 60}); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), make([]byte, 1<<16)...)
}

// TestImportRefuses: a bad archive is refused with what is wrong, and leaves
// nothing behind; a good one is taken then.
func TestImportRefuses(t *testing.T) {
	m := open(t)
	for want, archive := range hostile(t) {
		_, err := m.Unpack(component, bytes.NewReader(archive), Intake{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s: %v", want, err)
		}
		if _, err := os.Lstat(filepath.Join(m.root, component, importName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: something is left: %v", want, err)
		}
	}
	got, err := m.Unpack(component, bytes.NewReader(archiveOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o600})), Intake{Schema: 3})
	must(t, err)
	gen, err := m.Adopt(t.Context(), component, got)
	if err != nil || gen != 1 || got.Schema != 3 || got.Version != "imported" {
		t.Errorf("%+v, generation %d: %v", got, gen, err)
	}
}

// TestTruncated: an archive that is cut off anywhere is refused.
func TestTruncated(t *testing.T) {
	m := open(t)
	save(t, m, 1, "content")
	var archive bytes.Buffer
	must(t, m.Export(component, 1, &archive))
	whole := archive.Bytes()
	for cut := 0; cut < len(whole)-1; cut += 100 {
		if _, err := m.Unpack(component, bytes.NewReader(whole[:cut]), Intake{Outside: true}); err == nil {
			t.Errorf("%d of %d bytes were taken", cut, len(whole))
		}
	}
	_, err := m.Unpack(component, io.MultiReader(bytes.NewReader(whole), strings.NewReader("more")), Intake{Outside: true})
	must(t, err)
}

// FuzzUnpack: whatever an archive holds, nothing comes to lie outside.
func FuzzUnpack(f *testing.F) {
	for _, archive := range hostile(f) {
		f.Add(archive)
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		dir := t.TempDir()
		files := filepath.Join(dir, "files")
		if err := os.Mkdir(files, 0o700); err != nil {
			t.Fatal(err)
		}
		u := &unpacker{dir: files, room: 1 << 20, outside: true}
		err := u.unpack(bytes.NewReader(archive))
		if entries, e := os.ReadDir(dir); e != nil || len(entries) != 1 {
			t.Errorf("outside lies %v, %v (%v)", entries, e, err)
		}
		_ = replica.RemoveAll(files)
	})
}
