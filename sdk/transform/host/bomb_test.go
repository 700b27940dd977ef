package host

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// bomb is a tar of n empty files, each so many directories deep.
func bomb(t *testing.T, n, deep int) io.ReadSeeker {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range n {
		name := fmt.Sprintf("%d/%sf", i, strings.Repeat("d/", deep-1))
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

// newUnpacked is a stage of one file with room for so many bytes of output.
func newUnpacked(t *testing.T, output int64) (*stage, string) {
	t.Helper()
	dir := t.TempDir()
	out, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	s := &stage{run: &run{host: &Host{}}, module: module{limits: Limits{Output: output}}, out: out}
	s.entries = []entry{{path: ".", mode: 0o700 | os.ModeDir}, {path: "f", mode: 0o600}}
	return s, dir
}

// Directories cost as well as files, also those that are only implied.
func TestDirectoryBomb(t *testing.T) {
	s, dir := newUnpacked(t, 100*entryCost)
	var e *Error
	if err := s.unpack(t.Context(), bomb(t, 50, 40)); !errors.As(err, &e) || e.Class != OutputLimit || !strings.Contains(e.Reason, "more than 104 files and directories") {
		t.Errorf("got %v", err)
	}
	made := 0
	err := fs.WalkDir(os.DirFS(dir), ".", func(string, fs.DirEntry, error) error { made++; return nil })
	if err != nil || made > 105 {
		t.Errorf("%d files and directories were made, %v", made, err)
	}
}

// Nor does the host keep any number of names.
func TestManyDirectories(t *testing.T) {
	s, _ := newUnpacked(t, 1<<40)
	s.entries = append(s.entries, entry{path: strings.Repeat("d", 100), mode: 0o700 | os.ModeDir})
	if got, want := s.mostKept(), int64(dirsFor+2*(2*dirCost+1+100)); got != want {
		t.Errorf("%d bytes may be kept, want %d", got, want)
	}
	u := unpacker{stage: s, ctx: t.Context(), most: s.mostEntries(), modes: map[string]entry{".": s.entries[0]}, kept: 2*dirCost + 4}
	must(t, u.dir(&tar.Header{}, entry{path: "a/b"}))
	if e := failed(t, u.dir(&tar.Header{}, entry{path: "c"})); e.Class != OutputLimit || !strings.Contains(e.Reason, "too many directories") {
		t.Errorf("got %v", e)
	}
}

func TestUnpackIsCancelled(t *testing.T) {
	s, dir := newUnpacked(t, 1<<30)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("cancelled")
	cancel(why)
	if err := s.unpack(ctx, bomb(t, 50, 40)); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d entries were made, %v", len(left), err)
	}
}
