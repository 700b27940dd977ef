package host

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func counter(from, to int) Step {
	return Step{
		Module: built("subject"), From: from, To: to,
		Files: []string{"*.json", "deep/*.json"}, Format: "json", Params: map[string]string{"Note": "hi = there"},
	}
}

func TestChain(t *testing.T) {
	in := write(t, map[string]string{
		"a.json": `{"count":1}`, "b.json": `{"count":2}`, "deep/c.json": `{"count":3}`,
		"deep/deeper/d.json": `{"count":4}`, "raw": "raw",
	})
	if err := os.Chmod(filepath.Join(in, "a.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(in, "deep"), 0o550); err != nil {
		t.Fatal(err)
	}
	old := read(t, in)
	var log bytes.Buffer
	h := &Host{Cache: cache, Log: slog.New(slog.NewTextHandler(&log, nil))}

	up := filepath.Join(t.TempDir(), "up")
	var last, total int64
	report, err := h.Run(t.Context(), []Step{counter(1, 2), counter(2, 3)}, in, up, func(done, of int64) {
		if done < last || done > of {
			t.Errorf("progress went from %d to %d of %d", last, done, of)
		}
		last, total = done, of
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a.json": `{"note":"hi = there","total":1}` + "\n", "b.json": `{"note":"hi = there","total":2}` + "\n",
		"deep/c.json": `{"note":"hi = there","total":3}` + "\n", "deep/deeper/d.json": `{"count":4}`, "raw": "raw",
	}
	if diff := cmp.Diff(want, read(t, up)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(old, read(t, in)); diff != "" {
		t.Errorf("the input changed: %s", diff)
	}
	if last == 0 || last != total {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	if report.Transformed != 6 || report.Carried != 4 || report.Memory == 0 || report.Wall == 0 {
		t.Errorf("report is %+v", report)
	}
	if mode := stat(t, filepath.Join(up, "a.json")).Mode(); mode != 0o600 {
		t.Errorf("mode of a.json is %v", mode)
	}
	if mode := stat(t, filepath.Join(up, "deep")).Mode().Perm(); mode != 0o550 {
		t.Errorf("mode of deep is %v", mode)
	}
	if os.SameFile(stat(t, filepath.Join(in, "raw")), stat(t, filepath.Join(up, "raw"))) {
		t.Error("in and out share a file")
	}
	if !strings.Contains(log.String(), "transforming deep/c.json") {
		t.Errorf("the transform's log is missing in %s", log.String())
	}

	down := filepath.Join(t.TempDir(), "down")
	if _, err := h.Run(t.Context(), []Step{counter(3, 2), counter(2, 1)}, up, down, nil); err != nil {
		t.Fatal(err)
	}
	for name, content := range old {
		old[name] = content
		if strings.HasSuffix(name, ".json") && name != "deep/deeper/d.json" {
			old[name] += "\n"
		}
	}
	if diff := cmp.Diff(old, read(t, down)); diff != "" {
		t.Errorf("the way back differs: %s", diff)
	}
}

func stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestNoSteps(t *testing.T) {
	in := write(t, map[string]string{"a": "1", "b/c": "2"})
	out := t.TempDir() // empty, so it may be replaced
	report, err := (&Host{Cache: cache}).Run(t.Context(), nil, in, out, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(read(t, in), read(t, out)); diff != "" {
		t.Error(diff)
	}
	if report.Carried != 2 || report.Transformed != 0 {
		t.Errorf("report is %+v", report)
	}
}

func TestRefusedByTransform(t *testing.T) {
	h := &Host{Cache: cache}
	_, _, err := runOne(t, h, Step{Module: built("subject")}, `[1`)
	e := failed(t, err)
	if e.Class != Refused || e.File != "f" || e.Edge != "1→2" || !strings.Contains(e.Reason, "not the JSON of schema 1") || strings.Count(e.Error(), "state refused") != 1 {
		t.Errorf("got %#v", e)
	}
	in := write(t, map[string]string{"f": "{}"})
	_, err = h.Run(t.Context(), []Step{{Module: built("subject"), From: 7, To: 8}}, in, t.TempDir(), nil)
	if e := failed(t, err); e.Class != Refused || !strings.Contains(e.Reason, "no way 7→8") {
		t.Errorf("got %#v", e)
	}
}

func TestHostErrors(t *testing.T) {
	link := write(t, map[string]string{"a": "1"})
	if err := os.Symlink("a", filepath.Join(link, "b")); err != nil {
		t.Fatal(err)
	}
	full := write(t, map[string]string{"a": "1"})
	good := write(t, map[string]string{"a": "{}"})
	step := Step{Module: built("subject"), From: 1, To: 2}
	with := func(change func(*Step)) []Step {
		s := step
		change(&s)
		return []Step{s}
	}
	for name, test := range map[string]struct {
		steps   []Step
		in, out string
		want    string
	}{
		"symlink":   {with(func(*Step) {}), link, t.TempDir(), "b is neither a file nor a directory: remove it"},
		"in a tree": {with(func(s *Step) { s.Mode = Tree }), link, t.TempDir(), "remove it from the state, or use mode filter"},
		"full out":  {with(func(*Step) {}), good, full, "directory not empty"},
		"no in":     {with(func(*Step) {}), good + "x", t.TempDir(), "no such file"},
		"no module": {with(func(s *Step) { s.Module += "x" }), good, t.TempDir(), "cannot read transform"},
		"digest":    {with(func(s *Step) { s.Digest = "sha256:00" }), good, t.TempDir(), "its digest is not sha256:00"},
		"schema":    {with(func(s *Step) { s.To = 0 }), good, t.TempDir(), "schemas are positive"},
		"mode":      {with(func(s *Step) { s.Mode = "x" }), good, t.TempDir(), "unknown mode"},
		"format":    {with(func(s *Step) { s.Format = "x" }), good, t.TempDir(), "unknown format"},
		"glob":      {with(func(s *Step) { s.Files = []string{"["} }), good, t.TempDir(), "syntax error"},
		"param":     {with(func(s *Step) { s.Params = map[string]string{"a-b": ""} }), good, t.TempDir(), "names are letters"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := (&Host{Cache: cache}).Run(t.Context(), test.steps, test.in, test.out, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in := write(t, map[string]string{"f": "x"})
	spin := assembled(t, spinning)
	step := Step{Module: spin, From: 1, To: 2}
	_, err := (&Host{Cache: cache}).Run(ctx, []Step{step}, in, filepath.Join(t.TempDir(), "out"), func(int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCompile(t *testing.T) {
	if !compiles {
		t.Skip("the engine has no compiler for this processor")
	}
	t.Chdir(t.TempDir())
	h := &Host{Cache: "cache"}
	module := assembled(t, idle)
	if err := h.Compile(t.Context(), module); err != nil {
		t.Fatal(err)
	}
	if name, code := oneCompiled(t, h.Cache); len(code) == 0 {
		t.Errorf("%s is empty", name)
	}
	if mode := stat(t, h.Cache).Mode().Perm(); mode != 0o700 {
		t.Errorf("mode of the cache is %v", mode)
	}
}

// The interpreter gives the same bytes, and the report tells what it took.
func TestInterpret(t *testing.T) {
	step := Step{Module: built("subject"), Format: "json"}
	compiled, _, err := runOne(t, &Host{Cache: cache}, step, `{"count":1}`)
	if err != nil {
		t.Fatal(err)
	}
	interpreted, report, err := runOne(t, &Host{Cache: cache, Interpret: true}, step, `{"count":1}`)
	if err != nil || interpreted != compiled {
		t.Errorf("got %q, %v, want %q", interpreted, err, compiled)
	}
	if report.CPU <= 0 || report.Memory <= 0 {
		t.Errorf("CPU %v, memory %d", report.CPU, report.Memory)
	}
}
