package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRefresh(t *testing.T) {
	in := write(t, map[string]string{"a.json": `{"count":1}`, "deep/c.json": `{"count":3}`, "raw": "raw", "not asked for.json": "{"})
	out := write(t, map[string]string{"a.json": "old", "kept": "kept"})
	h := &Host{Cache: cache}
	if err := os.Mkdir(out+".work", 0o700); err != nil { // left by a crash
		t.Fatal(err)
	}
	report, err := h.Refresh(t.Context(), counter(1, 2), in, out, []File{{Path: "a.json"}, {Path: "deep/c.json"}, {Path: "raw"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a.json": `{"total":1}` + "\n", "deep/c.json": `{"total":3}` + "\n",
		"raw": "raw", "kept": "kept",
	}
	if diff := cmp.Diff(want, read(t, out)); diff != "" {
		t.Error(diff)
	}
	if report.Transformed != 2 || report.Carried != 1 {
		t.Errorf("report is %+v", report)
	}
	if _, err := h.Refresh(t.Context(), counter(1, 2), in, out, []File{{Path: "not asked for.json"}}, nil); err == nil {
		t.Error("half a document is accepted")
	}
	if diff := cmp.Diff(want, read(t, out)); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(out + ".work"); !os.IsNotExist(err) {
		t.Errorf("the work directory is left: %v", err)
	}
}

func TestRefreshTree(t *testing.T) {
	in, out := write(t, map[string]string{"b": "2\n"}), filepath.Join(t.TempDir(), "out")
	step := Step{Module: built("subject"), From: 1, To: 2, Mode: Tree}
	if _, err := (&Host{Cache: cache}).Refresh(t.Context(), step, in, out, nil, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"all/joined": "b\n2\n"}, read(t, out)); diff != "" {
		t.Error(diff)
	}
}

// A state of many small files must not add up to more memory than one needs.
func TestManyFiles(t *testing.T) {
	files := map[string]string{}
	for _, a := range "0123456789abcdefghijklmnopqrst" {
		for _, b := range "0123456789" {
			files[string(a)+string(b)+".json"] = `{"count":1}`
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	report, err := (&Host{Cache: cache}).Run(t.Context(), []Step{counter(1, 2)}, write(t, files), out, nil)
	if err != nil || report.Transformed != len(files) {
		t.Errorf("%+v, %v", report, err)
	}
}
