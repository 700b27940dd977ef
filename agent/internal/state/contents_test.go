package state

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestShow(t *testing.T) {
	m := open(t)
	dir := save(t, m, 1, "content")
	want := []File{
		{Path: "deep/", Mode: 0o700},
		{Path: "deep/file", Mode: 0o600, Size: 7, Digest: "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"},
		{Path: "link", Mode: 0o777 | os.ModeSymlink, Size: 8, Digest: "link:001471018cf6e0e0d9bccddd1725e94a67d22552cf5fa14ad5a6df62aac36aaa", Target: "/nowhere"},
	}
	c, err := m.Show(component, 1)
	if diff := cmp.Diff(want, c.All); err != nil || c.Damaged || diff != "" || c.Version != "1.0.0" || c.Size != 7 {
		t.Errorf("%v, %+v, %s", err, c, diff)
	}
	put(t, filepath.Join(dir, "deep", "file"), "CONTENT")
	if c, err = m.Show(component, 1); err != nil || !c.Damaged || c.All[1].Digest == want[1].Digest {
		t.Errorf("damaged: %v, %+v", err, c)
	}
	if _, err := m.Show(component, 2); !errors.Is(err, ErrNotSealed) {
		t.Errorf("no generation: %v", err)
	}
}

// The same state gives the same archive, whatever its files' times, and
// whichever generation it is.
func TestExport(t *testing.T) {
	m := open(t)
	var archives [2]bytes.Buffer
	for i := range archives {
		gen := Generation(i + 1)
		dir := save(t, m, gen, "content")
		must(t, os.Chtimes(filepath.Join(dir, "deep", "file"), time.Time{}, time.Unix(int64(i), 0)))
		must(t, m.Export(component, gen, &archives[i]))
	}
	if !bytes.Equal(archives[0].Bytes(), archives[1].Bytes()) {
		t.Error("the archives differ")
	}
	var names []string
	r := tar.NewReader(&archives[0])
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		if h.Linkname != "" {
			h.Name += " → " + h.Linkname
		}
		names = append(names, h.Name)
	}
	if diff := cmp.Diff([]string{"deep/", "deep/file", "link → /nowhere"}, names); diff != "" {
		t.Error(diff)
	}
	put(t, filepath.Join(m.root, component, "1", filesName, "deep", "file"), "CONTENT")
	if err := m.Export(component, 1, io.Discard); !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged: %v", err)
	}
}
