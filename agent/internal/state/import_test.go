package state

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
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
	if _, err := m.Unpack(component, bytes.NewReader(archive.Bytes()), Intake{Privileged: true}); err == nil || !strings.Contains(err.Error(), "--outside") {
		t.Errorf("a link that leads out: %v", err)
	}
	if _, err := m.Unpack(component, bytes.NewReader(archive.Bytes()), Intake{Outside: true}); err == nil || !strings.Contains(err.Error(), `"a": it runs with the rights of its owner`) || !strings.Contains(err.Error(), "--privileged") {
		t.Errorf("a setuid file: %v", err)
	}
	for range 2 { // a second one gets another number
		got, err := m.Unpack(component, bytes.NewReader(archive.Bytes()), Intake{Outside: true, Privileged: true})
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
	beyond := math.MaxInt32
	beyond++ // on 32 bits this is below, with the same digits
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
		`more than the disk has room for`:           bomb(t, 1<<60),
		`"a": it has more than the disk has room`:   bomb(t, math.MaxInt64),
		"it breaks off":                             whole[:len(whole)-2*blockSize],
		"no archive of a state":                     []byte(strings.Repeat("no tar", 1000)),
		"say it with --schema":                      archiveOf(t, file),
		`it is a state of "application/other"`:      labelled(t, label{Component: "application/other", Meta: meta("1.0.0"), Digest: "x"}),
		"does not hold what was exported":           labelled(t, label{Component: component, Meta: meta("1.0.0"), Digest: "x"}),
		"0 is no schema":                            labelled(t, label{Component: component, Digest: "x"}),
		"2147483648 is no schema":                   labelled(t, label{Component: component, Meta: Meta{Schema: beyond, Version: "1.0.0"}}),
		"is not a semantic version":                 labelled(t, label{Component: component, Meta: meta("\x1b[2J")}),
		"version is longer than":                    labelled(t, label{Component: component, Meta: meta(strings.Repeat("9", 700<<10))}),
		"is not a digest":                           labelled(t, label{Component: component, Meta: Meta{Schema: 1, Version: "1.0.0", Package: "x"}}),
		"it runs with capabilities: --privileged":   with(func(h *tar.Header) { h.PAXRecords = map[string]string{attributeKey + "security.capability": "x"} }),
		"(setuid, setgid): --privileged":            with(func(h *tar.Header) { h.Mode = 0o2755 }),
		"bytes of extended attributes": with(func(h *tar.Header) {
			h.PAXRecords = map[string]string{attributeKey + "user.a": strings.Repeat("x", maxAttributes)}
		}),
		`link to "d/../x", with .. after a name`: with(func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, "d/../x" }),
		`link to "d/./..", with .. after a name`: with(func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, "d/./.." }),
		`link to "a/b/l/../../secret", with .. after a name`: archiveOf(t,
			tar.Header{Typeflag: tar.TypeDir, Name: "a", Mode: 0o700}, tar.Header{Typeflag: tar.TypeDir, Name: "a/b", Mode: 0o700},
			tar.Header{Typeflag: tar.TypeSymlink, Name: "a/b/l", Linkname: "../.."}, tar.Header{Typeflag: tar.TypeSymlink, Name: "s", Linkname: "a/b/l/../../secret"}),
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

// bomb says that it has a file of that size.
func bomb(t testing.TB, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o600, Size: size}); err != nil {
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

// attributed are directories, each with an attribute, and with text that says
// nothing here.
func attributed(t *testing.T, count, bytes, idle int) io.Reader {
	t.Helper()
	r, w := io.Pipe()
	t.Cleanup(func() { _ = r.Close() })
	go func() {
		archive := tar.NewWriter(w)
		records := map[string]string{attributeKey + "user.a": strings.Repeat("x", bytes), "TRANQUIL.idle": strings.Repeat("x", idle)}
		for i := range count {
			h := tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprint(strings.Repeat("d", 110), i), Uid: os.Geteuid(), Gid: os.Getegid(), Mode: 0o700, PAXRecords: records}
			if archive.WriteHeader(&h) != nil {
				return // the reader has had enough
			}
		}
		_ = w.CloseWithError(errors.Join(archive.Flush(), io.ErrUnexpectedEOF))
	}()
	return r
}

// TestUnpackMemory: what stays in memory of an archive is bounded, and takes
// from the room.
func TestUnpackMemory(t *testing.T) {
	for _, c := range []struct {
		count, bytes, idle int
		want               string
	}{
		{count: 100, bytes: 10, idle: 900 << 10, want: "it breaks off"},
		{count: 600, bytes: maxAttributes - 100, want: "directories' extended attributes are more than"},
	} {
		const room = 1 << 30
		u := &unpacker{dir: t.TempDir(), room: room, inodes: maxEntries}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		err := u.unpack(attributed(t, c.count, c.bytes, c.idle))
		runtime.GC()
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %s: %v", c.want, err)
		}
		if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > maxHeld+8<<20 || held > room-u.room+8<<20 {
			t.Errorf("%d bytes stay in memory, %d were taken from the room", held, room-u.room)
		}
		runtime.KeepAlive(u)
	}
}

// TestUnpackInodes: an archive of empty files takes no more of the inodes than
// may be had.
func TestUnpackInodes(t *testing.T) {
	var all []tar.Header
	for i := range 4 {
		all = append(all, tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint(i), Mode: 0o600, Uid: os.Geteuid(), Gid: os.Getegid()})
	}
	for inodes, want := range map[int64]bool{4: true, 3: false} {
		err := (&unpacker{dir: t.TempDir(), room: 1 << 20, inodes: inodes}).unpack(bytes.NewReader(archiveOf(t, all...)))
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "inodes") {
			t.Errorf("with %d inodes: %v", inodes, err)
		}
	}
}

// TestUnpackLinks: links that stay inside are taken, dangling ones too.
func TestUnpackLinks(t *testing.T) {
	all := []tar.Header{{Typeflag: tar.TypeDir, Name: "a", Mode: 0o700}, {Typeflag: tar.TypeDir, Name: "a/b", Mode: 0o700}}
	for name, target := range map[string]string{"a/b/l": "../..", "m": "a/b/l/a", "a/n": "./.././missing", "a/b/o": "../.././m/b/"} {
		all = append(all, tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target})
	}
	for i := range all {
		all[i].Uid, all[i].Gid = os.Geteuid(), os.Getegid()
	}
	dir := t.TempDir()
	must(t, (&unpacker{dir: dir, room: 1 << 20, inodes: maxEntries}).unpack(bytes.NewReader(archiveOf(t, all...))))
	inside(t, dir)
}

// inside follows all links as the kernel would.
func inside(t *testing.T, dir string) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	must(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() != fs.ModeSymlink {
			return nil // a directory that may not be read
		}
		name, err = filepath.Rel(dir, name)
		must(t, err)
		if _, err := root.Stat(name); err != nil && strings.Contains(err.Error(), "escapes") {
			t.Error(err)
		}
		return nil
	}))
}

// FuzzUnpack: whatever an archive holds, nothing comes to lie outside, nor
// does a link lead there that was not asked for.
func FuzzUnpack(f *testing.F) {
	for _, archive := range hostile(f) {
		f.Add(archive)
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		for _, outside := range []bool{false, true} {
			unpackAny(t, archive, outside)
		}
	})
}

func unpackAny(t *testing.T, archive []byte, outside bool) {
	t.Helper()
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	must(t, os.Mkdir(files, 0o700))
	u := &unpacker{dir: files, room: 1 << 20, inodes: maxEntries, outside: outside}
	err := u.unpack(bytes.NewReader(archive))
	if entries, e := os.ReadDir(dir); e != nil || len(entries) != 1 {
		t.Errorf("outside lies %v, %v (%v)", entries, e, err)
	}
	if !outside {
		inside(t, files)
	}
	_ = replica.RemoveAll(files)
}
