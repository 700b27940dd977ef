package state

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

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

// TestExportKinds: an archive has set-id and sticky bits, the names of one file
// as links, and says of what it is the state.
func TestExportKinds(t *testing.T) {
	m := open(t)
	dir, err := m.Fresh(component, 1)
	must(t, err)
	put(t, filepath.Join(dir, "a"), "content")
	must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	must(t, os.Chmod(filepath.Join(dir, "a"), 0o750|os.ModeSetuid|os.ModeSetgid))
	must(t, os.Mkdir(filepath.Join(dir, "c"), 0o700))
	must(t, os.Chmod(filepath.Join(dir, "c"), 0o700|os.ModeSticky))
	must(t, m.Seal(t.Context(), component, 1, meta("1.0.0")))
	var archive bytes.Buffer
	must(t, m.Export(component, 1, &archive))
	var got []string
	for r := tar.NewReader(&archive); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		b, err := io.ReadAll(r)
		must(t, err)
		got = append(got, fmt.Sprintf("%c %s %o %s %s", h.Typeflag, h.Name, h.Mode, h.Linkname, b))
	}
	if diff := cmp.Diff([]string{"g pax_global_header 0  ", "5 ./ 700  ", "0 a 6750  content", "1 b 6750 a ", "5 c/ 1700  "}, got); diff != "" {
		t.Error(diff)
	}
}

// The same files give the same archive; one that is damaged breaks off.
func TestExport(t *testing.T) {
	m := open(t)
	dir := save(t, m, 1, "content")
	var archives [2]bytes.Buffer
	for i := range archives {
		must(t, m.Export(component, 1, &archives[i]))
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
	if diff := cmp.Diff([]string{"pax_global_header", "./", "deep/", "deep/file", "link → /nowhere"}, names); diff != "" {
		t.Error(diff)
	}
	put(t, filepath.Join(dir, "deep", "file"), "CONTENT")
	if err := m.Export(component, 1, io.Discard); !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged: %v", err)
	}
}
