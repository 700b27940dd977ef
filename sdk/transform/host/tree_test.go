package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTree(t *testing.T) {
	in := write(t, map[string]string{"b": "2\n", "a/x": "1\n"})
	if err := os.Chmod(in, 0o750); err != nil {
		t.Fatal(err)
	}
	step := Step{Module: built("subject"), From: 1, To: 2, Mode: Tree}
	out := filepath.Join(t.TempDir(), "out")
	report, err := (&Host{Cache: cache}).Run(t.Context(), []Step{step}, in, out, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"all/joined": "a/\na/x\n1\nb\n2\n"}
	if diff := cmp.Diff(want, read(t, out)); diff != "" {
		t.Error(diff)
	}
	if mode := stat(t, filepath.Join(out, "all/joined")).Mode(); mode != 0o640 {
		t.Errorf("mode is %v", mode)
	}
	if mode := stat(t, out).Mode().Perm(); mode != 0o750 {
		t.Errorf("mode of the state is %v", mode)
	}
	if report.Transformed != 1 {
		t.Errorf("report is %+v", report)
	}
}

func TestEvilTrees(t *testing.T) {
	for evil, want := range map[string]string{
		"escape":       `entry "../escaped": its name leads out`,
		"absolute":     `entry "/tmp/escaped": its name leads out`,
		"symlink":      `entry "link": it is neither a file nor a directory`,
		"device":       `entry "null": it is neither a file nor a directory`,
		"twice":        `entry "./a": it is there twice`,
		"below a file": "a file is in the way",
		"nothing":      "it left no file",
	} {
		t.Run(evil, func(t *testing.T) {
			step := Step{Module: built("subject"), Mode: Tree, Params: map[string]string{"evil": evil}}
			_, _, err := runOne(t, &Host{Cache: cache}, step, "x")
			if e := failed(t, err); e.Class != Invalid || !strings.Contains(e.Reason, want) {
				t.Errorf("got %v", e)
			}
		})
	}
}

func TestNoTar(t *testing.T) {
	step := Step{Module: built("subject"), Mode: Tree, Params: map[string]string{"how": "half a document"}}
	_, _, err := runOne(t, &Host{Cache: cache}, step, "x")
	if e := failed(t, err); e.Class != Invalid || !strings.Contains(e.Reason, "no tar archive") {
		t.Errorf("got %v", e)
	}
}

func TestTreeFormat(t *testing.T) {
	step := Step{Module: built("subject"), Mode: Tree, Format: "json", Files: []string{"all/*"}}
	_, _, err := runOne(t, &Host{Cache: cache}, step, "x")
	if e := failed(t, err); e.Class != Invalid || e.File != "all/joined" || !strings.Contains(e.Reason, "not json") {
		t.Errorf("got %#v", e)
	}
}
