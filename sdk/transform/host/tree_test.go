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
		"deep":         "its name is longer than 1024 bytes",
		"long":         "its name is longer than 1024 bytes",
		"long part":    "a part of its name is longer than 255 bytes",
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

// A name may be as long and as deep as one that the state has had.
func TestNames(t *testing.T) {
	part, deep := strings.Repeat("b", 255), strings.Repeat("d/", maxLevels-1)
	old := []entry{{path: "."}, {path: strings.Repeat("d/", 99) + "f"}}
	for _, test := range []struct {
		name, want string
		entries    []entry
	}{
		{deep + "f", "", nil},
		{deep + "d/f", "more than 64 levels deep", nil},
		{deep + "d/f", "", old},
		{strings.Repeat("d/", 100) + "f", "more than 100 levels deep", old},
		{part + "/" + part, "", nil},
		{part + "b", "a part of its name is longer than 255 bytes", nil},
		{strings.Repeat(part+"/", 4), "", nil},
		{strings.Repeat(part+"/", 4) + "f", "longer than 1024 bytes", nil},
	} {
		err := boundsFor(test.entries).check(test.name)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.20s…: got %v, want %q", test.name, err, test.want)
		}
	}
}

// A directory that is only implied keeps its mode, or has that of the one above.
func TestImpliedDirs(t *testing.T) {
	u := unpacker{stage: &stage{entries: []entry{{path: ".", mode: os.ModeDir | 0o750}, {path: "old", mode: os.ModeDir | 0o711}}}}
	u.modes = map[string]entry{
		".": u.entries[0], "old": {path: "old"}, "old/new": {path: "old/new"}, "made": {path: "made", mode: os.ModeDir | 0o700},
		"made/a": {path: "made/a"}, "made/a/b": {path: "made/a/b"}, "new": {path: "new"},
	}
	got := map[string]os.FileMode{}
	for _, e := range u.dirs() {
		got[e.path] = e.mode.Perm()
	}
	want := map[string]os.FileMode{".": 0o750, "old": 0o711, "old/new": 0o711, "made": 0o700, "made/a": 0o700, "made/a/b": 0o700, "new": 0o750}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
