package content

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/sdk/space"
)

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rest writes what is missing of b.
func rest(b []byte) func(int64, io.Writer) error {
	return func(have int64, w io.Writer) error {
		_, err := w.Write(b[have:])
		return err
	}
}

func put(t *testing.T, s *Store, b []byte) string {
	t.Helper()
	if err := s.Receive(digestOf(b), int64(len(b)), rest(b)); err != nil {
		t.Fatal(err)
	}
	return digestOf(b)
}

func TestReceive(t *testing.T) {
	for _, b := range [][]byte{[]byte("hello"), {}, bytes.Repeat([]byte("x"), 1<<20)} {
		s := open(t, t.TempDir())
		d := digestOf(b)
		if s.Has(d) {
			t.Fatal("an empty store has the blob")
		}
		put(t, s, b)
		f, err := s.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		f.Close()
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("read %d bytes, %v, want %d", len(got), err, len(b))
		}
		if size, err := s.Size(d); err != nil || size != int64(len(b)) {
			t.Fatalf("size %d, %v", size, err)
		}
		err = s.Receive(d, int64(len(b)), func(int64, io.Writer) error {
			t.Error("a whole blob is received again")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestResume interrupts a download twice, with a new process in between.
func TestResume(t *testing.T) {
	dir, b := t.TempDir(), []byte("0123456789")
	broken := errors.New("broken")
	var starts []int64
	for range 3 {
		s := open(t, dir)
		err := s.Receive(digestOf(b), 10, func(have int64, w io.Writer) error {
			starts = append(starts, have)
			if _, err := w.Write(b[have:min(have+4, 10)]); err != nil {
				return err
			}
			if have+4 < 10 {
				return broken
			}
			return nil
		})
		if len(starts) < 3 && !errors.Is(err, broken) || len(starts) == 3 && err != nil {
			t.Fatalf("run %d: %v", len(starts), err)
		}
	}
	if diff := cmp.Diff([]int64{0, 4, 8}, starts); diff != "" {
		t.Error(diff)
	}
	if !open(t, dir).Has(digestOf(b)) {
		t.Error("blob is not there")
	}
}

func TestWrongContent(t *testing.T) {
	b := []byte("0123456789")
	tests := []struct {
		name string
		send []byte
		want error
		left int64 // bytes of the partial blob afterwards
	}{
		{"corrupt", []byte("0123456788"), ErrDigest, -1},
		{"truncated", []byte("01234"), ErrSize, 5},
		{"over-long", []byte("01234567890"), ErrSize, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, t.TempDir())
			if err := s.Receive(digestOf(b), 10, rest(test.send)); !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if s.Has(digestOf(b)) {
				t.Error("wrong content became a blob")
			}
			left := int64(-1)
			if info, err := os.Stat(s.partial(digestOf(b))); err == nil {
				left = info.Size()
			}
			if left != test.left {
				t.Errorf("%d bytes are left, want %d", left, test.left)
			}
			put(t, s, b)
		})
	}
}

// TestSpoiledPrefix has an earlier run leave wrong bytes, as a power cut may:
// the blob comes anyway, from the start.
func TestSpoiledPrefix(t *testing.T) {
	b := []byte("0123456789")
	for _, spoiled := range []string{"01x", "012345678x", strings.Repeat("x", 20)} {
		s := open(t, t.TempDir())
		if err := os.WriteFile(s.partial(digestOf(b)), []byte(spoiled), syncedMode); err != nil {
			t.Fatal(err)
		}
		put(t, s, b)
		if !s.Has(digestOf(b)) {
			t.Errorf("%q: blob is not there", spoiled)
		}
	}
}

// TestPowerCut has the power fail: what was written since the last MiB may be anything
// then, and is fetched again; no more than that.
func TestPowerCut(t *testing.T) {
	b := make([]byte, 4*syncEach)
	for i := range b {
		b[i] = byte(i >> 8)
	}
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		came int64
		cut  bool
		want int64
	}{
		"no cut":             {2*syncEach + 500, false, 2*syncEach + 500},
		"cut":                {2*syncEach + 500, true, 2 * syncEach},
		"cut while it syncs": {2 * syncEach, true, syncEach},
		"cut at once":        {100, true, 0},
		"cut after nothing":  {0, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			err := s.Receive(digestOf(b), int64(len(b)), func(_ int64, w io.Writer) error {
				_, err := w.Write(b[:tt.came])
				return errors.Join(err, broken)
			})
			if !errors.Is(err, broken) {
				t.Fatal(err)
			}
			if tt.cut {
				spoil(t, s.partial(digestOf(b)), tt.want)
			}
			attempts := 0
			err = open(t, dir).Receive(digestOf(b), int64(len(b)), func(have int64, w io.Writer) error {
				if attempts++; have != tt.want {
					t.Errorf("goes on from byte %d instead of %d", have, tt.want)
				}
				return rest(b)(have, w)
			})
			if err != nil || attempts != 1 {
				t.Errorf("%v after %d attempts", err, attempts)
			}
		})
	}
}

// spoil does to a partial blob what a power cut may do to one that is written to.
func spoil(t *testing.T, path string, from int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt(bytes.Repeat([]byte{0xaa}, int(info.Size()-from)), from)
	}
	if err = errors.Join(err, f.Chmod(openMode)); err != nil {
		t.Fatal(err)
	}
}

func TestBusy(t *testing.T) {
	s := open(t, t.TempDir())
	b := []byte("abc")
	err := s.Receive(digestOf(b), 3, func(_ int64, w io.Writer) error {
		if err := s.Receive(digestOf(b), 3, rest(b)); !errors.Is(err, ErrBusy) {
			t.Errorf("second Receive: %v", err)
		}
		if err := s.Delete(digestOf(b)); !errors.Is(err, ErrBusy) {
			t.Errorf("Delete: %v", err)
		}
		if _, err := s.Collect(nil); err != nil {
			t.Errorf("Collect: %v", err)
		}
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSpace(t *testing.T) {
	s, err := Open(t.TempDir(), 100)
	if err != nil {
		t.Fatal(err)
	}
	s.left = func(_ string, reserve int64) (space.Room, error) {
		return space.Room{Bytes: 150 - reserve, Files: 3}, nil
	}
	if err := s.Reserve(50, 3); err != nil {
		t.Error(err)
	}
	var full *SpaceError
	if err := s.Reserve(51, 1); !errors.As(err, &full) {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff(SpaceError{Need: 51, Have: 150, Reserve: 100}, *full); diff != "" {
		t.Error(diff)
	}
	b := bytes.Repeat([]byte("x"), 51)
	err = s.Receive(digestOf(b), 51, func(int64, io.Writer) error {
		t.Error("download began on a full disk")
		return nil
	})
	if !errors.As(err, &full) {
		t.Errorf("got %v", err)
	}
	if err := s.Reserve(50, 4); !errors.As(err, &full) || !strings.Contains(err.Error(), "inodes") || !strings.Contains(err.Error(), "4 files") {
		t.Errorf("more files than there are inodes: %v", err)
	}
}

func TestDeleteAndCollect(t *testing.T) {
	s := open(t, t.TempDir())
	a, b, c := put(t, s, []byte("a")), put(t, s, []byte("bb")), put(t, s, []byte("ccc"))
	unfinished := digestOf([]byte("dddd"))
	s.Receive(unfinished, 4, func(_ int64, w io.Writer) error {
		w.Write([]byte("dd"))
		return errors.New("broken")
	})
	for range 2 {
		if err := s.Delete(a); err != nil {
			t.Fatal(err)
		}
	}
	freed, err := s.Collect([]string{b, digestOf([]byte("never seen"))})
	if err != nil || freed != 5 {
		t.Errorf("freed %d, %v", freed, err)
	}
	if s.Has(a) || !s.Has(b) || s.Has(c) {
		t.Error("the wrong blobs are left")
	}
	if _, err := s.Path(c); !errors.Is(err, ErrNotFound) {
		t.Errorf("path of a deleted blob: %v", err)
	}
	if _, err := s.Open(c); !errors.Is(err, ErrNotFound) {
		t.Errorf("opened a deleted blob: %v", err)
	}
}

func TestOpenRemovesJunk(t *testing.T) {
	dir := t.TempDir()
	kept := put(t, open(t, dir), []byte("kept"))
	for _, name := range []string{"sha256/tmp", "partial/x.old", "sha256/" + strings.Repeat("A", 64)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("junk"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "partial", strings.Repeat("a", 64), "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if !s.Has(kept) {
		t.Error("a blob was removed")
	}
	for _, sub := range []string{"sha256", "partial"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if "sha256:"+e.Name() != kept {
				t.Errorf("%s is still in %s", e.Name(), sub)
			}
		}
	}
}

func TestMalformedDigest(t *testing.T) {
	s := open(t, t.TempDir())
	for _, d := range []string{"", "sha256:", "sha256:../../etc/passwd", "md5:" + strings.Repeat("a", 64), digestOf(nil) + "a", digestOf(nil) + "\n"} {
		_, openErr := s.Open(d)
		for _, err := range []error{openErr, s.Delete(d), s.Receive(d, 1, rest([]byte("x")))} {
			if err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("%q: %v", d, err)
			}
		}
	}
}

func TestCheckRemovesWhatIsDamaged(t *testing.T) {
	s := open(t, t.TempDir())
	good, bad := put(t, s, []byte("good")), put(t, s, []byte("bad"))
	path, err := s.Path(bad)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.Truncate(path, 1)); err != nil {
		t.Fatal(err)
	}
	removed, err := s.Check(t.Context())
	if err != nil || len(removed) != 1 || removed[0] != bad {
		t.Errorf("removed %v, %v", removed, err)
	}
	if !s.Has(good) || s.Has(bad) {
		t.Error("the wrong one was removed")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if removed, err := s.Check(ended); err != nil || len(removed) != 0 || !s.Has(good) {
		t.Errorf("of what was not read to its end: removed %v, %v", removed, err)
	}
}

// TestReceiveDamaged: what the disk has spoiled comes again, whether or not
// anybody has checked.
func TestReceiveDamaged(t *testing.T) {
	s := open(t, t.TempDir())
	b := []byte("some bytes")
	digest := put(t, s, b)
	path, err := s.Path(digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, spoiled := range []string{"", "some", "some bytez", "some bytes and more"} {
		if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte(spoiled), 0o600)); err != nil {
			t.Fatal(err)
		}
		put(t, s, b)
		if got, err := os.ReadFile(path); err != nil || string(got) != string(b) {
			t.Errorf("%q became %q, %v", spoiled, got, err)
		}
	}
}

func TestFull(t *testing.T) {
	dir := t.TempDir()
	if err := Full(dir, 0); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	err := Full(dir, 1<<60)
	if _, is := errors.AsType[*FullError](err); !is || !strings.Contains(err.Error(), dir) {
		t.Errorf("no disk has an exbibyte free: %v", err)
	}
	if err := Full(filepath.Join(dir, "none"), 1<<60); err != nil {
		t.Errorf("nobody can tell: %v", err)
	}
	err = &FullError{Dir: dir, Free: 1 << 30, NoInodes: true}
	if !strings.Contains(err.Error(), "no inode") {
		t.Error(err)
	}
}

// TestSpare has blobs give way that are only kept as long as there is room, but none
// that somebody holds.
func TestSpare(t *testing.T) {
	s := open(t, t.TempDir())
	a, b, c := put(t, s, []byte("spare")), put(t, s, []byte("spare and held")), put(t, s, []byte("needed"))
	s.left = func(string, int64) (space.Room, error) {
		room := space.Room{Bytes: 50, Files: 9}
		if !s.Has(a) {
			room.Bytes += 5
		}
		return room, nil
	}
	if err := s.Reserve(55, 1); err == nil {
		t.Error("nothing was spare")
	}
	s.Spare = func() []string { return []string{a, b, digestOf([]byte("not here"))} }
	s.Hold("somebody", b)
	if err := s.Reserve(50, 1); err != nil || !s.Has(a) {
		t.Errorf("%v: the spare blob is gone although there was room: %v", err, !s.Has(a))
	}
	if err := s.Reserve(55, 1); err != nil {
		t.Error(err)
	}
	if s.Has(a) || !s.Has(b) || !s.Has(c) {
		t.Error("the wrong blobs have given way")
	}
	var full *SpaceError
	if err := s.Reserve(56, 1); !errors.As(err, &full) {
		t.Errorf("got %v", err)
	}
}

// TestScratch leaves nothing behind.
func TestScratch(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, 100)
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Scratch(10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("something")); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, partialDir)); len(left) > 0 {
		t.Errorf("%v", left)
	}
	f.Close()
	s.left = func(string, int64) (space.Room, error) { return space.Room{Bytes: 9, Files: 9}, nil }
	var full *SpaceError
	if _, err := s.Scratch(10); !errors.As(err, &full) {
		t.Errorf("got %v", err)
	}
}

// TestDrop removes what nobody holds.
func TestDrop(t *testing.T) {
	s := open(t, t.TempDir())
	d := put(t, s, []byte("a blob"))
	for _, step := range []struct {
		held []string
		has  bool
	}{{[]string{d}, true}, {nil, false}, {nil, false}} {
		s.Hold("somebody", step.held...)
		if err := s.Drop(d); err != nil || s.Has(d) != step.has {
			t.Errorf("held %v: %v, is it there? %v", step.held, err, s.Has(d))
		}
	}
}
