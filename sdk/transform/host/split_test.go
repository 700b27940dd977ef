package host

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/internal/wat"
)

func splitting(how string) Step {
	return Step{
		Module: built("subject"), From: 1, To: 2, Format: "ndjson", Split: SplitLines,
		Params: map[string]string{"lines": how},
	}
}

// A history is a split file through its changes, by a small module that makes
// capitals.
type history struct {
	*testing.T
	dir, out string
	step     Step
}

func newHistory(t *testing.T) history {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../testdata/abi/upper/module.wat")
	if err != nil {
		t.Fatal(err)
	}
	step := Step{Module: filepath.Join(dir, "upper.wasm"), From: 1, To: 2, Split: SplitLines}
	if err := os.WriteFile(step.Module, wat.Assemble(t, string(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	return history{t, filepath.Join(dir, "in"), filepath.Join(dir, "out"), step}
}

// becomes gives the file a content, refreshes the result, and checks it.
func (h history) becomes(text []byte) Report {
	h.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, "log"), text, 0o640); err != nil {
		h.Fatal(err)
	}
	report, err := (&Host{Cache: cache}).Refresh(h.Context(), h.step, h.dir, h.out, []File{{Path: "log"}}, nil)
	if err != nil {
		h.Fatal(err)
	}
	if got := read(h.T, h.out)["log"]; got != string(bytes.ToUpper(text)) {
		h.Fatalf("the result has %d bytes and is not what it should be", len(got))
	}
	return report
}

func TestSplit(t *testing.T) {
	text := readings(2<<20, 1)
	line := []byte(`{"new":true}` + "\n")
	middle := bytes.IndexByte(text[len(text)/2:], '\n') + len(text)/2 + 1
	h := newHistory(t)
	first := h.becomes(text)
	if first.Kept != 0 || first.In < int64(len(text)) || first.Transformed != 1 {
		t.Errorf("first: %+v", first)
	}
	for _, change := range []struct {
		name string
		text []byte
		most int64 // bytes that may be transformed
	}{
		{"nothing", text, 0},
		{"append", slices.Concat(text, line), maxPiece},
		{"truncate", text, maxPiece},
		{"insert", slices.Concat(text[:middle], line, text[middle:]), 2 * maxPiece},
		{"first line gone", text[bytes.IndexByte(text, '\n')+1:], 2 * maxPiece},
		{"short", line, int64(len(line))},
		{"long again", text, first.In},
	} {
		report := h.becomes(change.text)
		if report.In > change.most {
			t.Errorf("%s: %d bytes were transformed, expected at most %d", change.name, report.In, change.most)
		}
		if change.most < int64(len(text)) && len(change.text) > minPiece && report.Kept == 0 {
			t.Errorf("%s: no piece was kept", change.name)
		}
	}
}

// However many files are split, few of them are open at a time, and the
// sandboxes stay.
func TestManySplitFiles(t *testing.T) {
	h := newHistory(t)
	text := readings(minPiece+1000, 1)
	var files []File
	for i := range 2*openFiles + 3 {
		name := fmt.Sprint(i)
		if err := os.WriteFile(filepath.Join(h.dir, name), append(bytes.Clone(text), name...), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, File{Path: name})
	}
	var limit, few syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	few = limit
	few.Cur = uint64(len(open) + 3*openFiles + 60)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	var last int64
	report, err := (&Host{Cache: cache}).Refresh(t.Context(), h.step, h.dir, h.out, files, func(done, total int64) {
		if done < last || done > total {
			t.Errorf("%d of %d bytes are done after %d", done, total, last)
		}
		last = done
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Transformed != len(files) {
		t.Errorf("%+v", report)
	}
	for i, content := range read(t, h.out) {
		if want := strings.ToUpper(string(text)) + i; content != want {
			t.Errorf("file %s has %d bytes, not %d", i, len(content), len(want))
		}
	}
}

// TestLastPieceIsFollowed: to what was the last piece, without a line end,
// nothing is joined when the file has grown.
func TestLastPieceIsFollowed(t *testing.T) {
	h := newHistory(t)
	h.step = splitting("unended")
	text := endingPiece(t)
	longer := append(bytes.Clone(text), "[1]\n"...)
	if pieces := cutAll(t, longer); len(pieces) != 2 || !bytes.Equal(pieces[0], text) {
		t.Fatalf("the text makes %d pieces, not the two that are wanted", len(pieces))
	}
	refresh := func(text []byte) error {
		must(t, os.WriteFile(filepath.Join(h.dir, "log"), text, 0o640))
		_, err := (&Host{Cache: cache}).Refresh(t.Context(), h.step, h.dir, h.out, []File{{Path: "log"}}, nil)
		return err
	}
	must(t, refresh(text))
	if e := failed(t, refresh(longer)); e.Class != Invalid || !strings.Contains(e.Reason, "the last line has no end") {
		t.Errorf("got %v", e)
	}
}

// endingPiece is a piece wherever it comes, and its last line has "end" in it.
func endingPiece(t *testing.T) []byte {
	t.Helper()
	text := bytes.Repeat([]byte("[0]\n"), minPiece/4+10)
	for n := range 10 * spanPiece {
		line := fmt.Appendf(nil, `["end",%d]`+"\n", n)
		if hashLine(line)/uint64(len(line)) < ^uint64(0)/spanPiece {
			return append(text, line...)
		}
	}
	t.Fatal("no line ends a piece")
	return nil
}

// TestUntriedSplit: a file of one line says nothing about a split; it is tried
// when there are more.
func TestUntriedSplit(t *testing.T) {
	h := newHistory(t)
	h.step = splitting("numbered")
	h.step.Format = "bytes"
	refresh := func(text string) error {
		must(t, os.WriteFile(filepath.Join(h.dir, "log"), []byte(text), 0o640))
		_, err := (&Host{Cache: cache}).Refresh(t.Context(), h.step, h.dir, h.out, []File{{Path: "log"}}, nil)
		return err
	}
	must(t, refresh("1\n"))
	if e := failed(t, refresh("1\n2\n3\n")); e.Class != Invalid || !strings.Contains(e.Reason, "does not hold") {
		t.Errorf("got %v", e)
	}
}

// Pieces that are all alike stay where they are; what follows may be one of
// them once more.
func TestSplitOfLikePieces(t *testing.T) {
	line := []byte("always the same line, and of a good length so that they are few\n")
	text := bytes.Repeat(line, 3<<20/len(line))
	h := newHistory(t)
	h.becomes(text)
	for _, change := range [][]byte{line, text[:1<<20], text, line} {
		text = append(text, change...)
		report := h.becomes(text)
		if report.Extended["log"] == 0 || report.Kept == 0 {
			t.Errorf("%d bytes, %d more: %+v", len(text), len(change), report)
		}
	}
}

// The result of before is believed only as far as it is what was made, and a
// crash at any point leaves at most more work.
func TestSplitAfterDamage(t *testing.T) {
	text := readings(1<<20, 1)
	for name, damage := range map[string]func(out, index string) error{
		"index gone":    func(_, index string) error { return os.Remove(index) },
		"index cut":     func(_, index string) error { return halve(index) },
		"result gone":   func(out, _ string) error { return os.Remove(out) },
		"result cut":    func(out, _ string) error { return os.Truncate(out, 500_000) },
		"result grown":  func(out, _ string) error { return appendTo(out, "more") },
		"result filled": func(out, _ string) error { return os.WriteFile(out, make([]byte, 1<<20), 0o600) },
	} {
		h := newHistory(t)
		h.becomes(text)
		indexes, err := filepath.Glob(h.out + ".pieces/[0-9a-f]*")
		if err != nil || len(indexes) != 1 {
			t.Fatal(indexes, err)
		}
		if err := damage(filepath.Join(h.out, "log"), indexes[0]); err != nil {
			t.Fatal(err)
		}
		report := h.becomes(append(bytes.Clone(text), "0\n"...))
		if half := name == "result cut" || name == "result grown"; half != (report.Kept > 0) {
			t.Errorf("%s: %d pieces were kept", name, report.Kept)
		}
	}
}

// halve cuts a file, however long it is: numbers in an index differ in length.
func halve(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return os.Truncate(name, info.Size()/2)
}

// What the caller vouches for is not read again, if it is about the content
// that the result was made from.
func TestHead(t *testing.T) {
	text := readings(1<<20, 1)
	for name, test := range map[string]struct {
		alter func(*Identity)
		read  bool
	}{
		"of this content":    {func(*Identity) {}, false},
		"of another content": {func(i *Identity) { i.Changed++ }, true},
		"of another file":    {func(i *Identity) { i.Inode++ }, true},
		"of nothing":         {func(i *Identity) { *i = Identity{} }, true},
	} {
		h := newHistory(t)
		h.becomes(text)
		file := filepath.Join(h.dir, "log")
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		was, err := identify(f)
		if err != nil {
			t.Fatal(err)
		}
		test.alter(&was.Identity)
		if err := appendTo(file, "more\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("altered"), 0); err != nil { // which the caller would have seen
			t.Fatal(err)
		}
		files := []File{{Path: "log", Was: was.Identity, Head: int64(len(text))}}
		report, err := (&Host{Cache: cache}).Refresh(t.Context(), h.step, h.dir, h.out, files, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := read(t, h.out)["log"]
		if read := strings.HasPrefix(got, "ALTERED"); read != test.read || !strings.HasSuffix(got, "MORE\n") {
			t.Errorf("%s: read is %v", name, read)
		}
		if kept := report.Extended["log"]; (kept > 0) == test.read {
			t.Errorf("%s: %d bytes were kept", name, kept)
		}
	}
}

func appendTo(name, text string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

func TestSplitIsRefused(t *testing.T) {
	text := string(readings(200_000, 1))
	for how, test := range map[string]struct {
		class  Class
		reason string
	}{
		"sum":        {Invalid, `split = "lines" does not hold`},
		"numbered":   {Invalid, `split = "lines" does not hold`},
		"none":       {Invalid, "wrote nothing"},
		"first word": {Refused, "begins with !"},
	} {
		step := splitting(how)
		step.Format = "bytes"
		_, _, err := runOne(t, &Host{Cache: cache}, step, text+"!\n")
		e := failed(t, err)
		if e.Class != test.class || !strings.Contains(e.Reason, test.reason) || e.File != "f" {
			t.Errorf("%s: got %v", how, e)
		}
		if how != "sum" && how != "numbered" {
			continue
		}
		if _, _, err := runOne(t, &Host{Cache: cache}, step, "a\nb\n"); err == nil {
			t.Errorf("%s: a short file does not tell", how)
		}
	}
}

func TestSplitNeedsAFilter(t *testing.T) {
	for _, step := range []Step{
		{From: 1, To: 2, Split: "words"},
		{From: 1, To: 2, Split: SplitLines, Mode: Tree},
		{From: 1, To: 2, Split: SplitLines, Format: "json"},
	} {
		if err := step.check(); err == nil {
			t.Errorf("%+v is accepted", step)
		}
	}
}

// Whatever an index says whose checksum is right: the pieces are those of the
// file, and what is taken for known is in the old result.
func FuzzIndex(f *testing.F) {
	dir := f.TempDir()
	must(f, os.WriteFile(filepath.Join(dir, "in"), []byte("one\ntwo\nthree\n"), 0o600))
	must(f, os.WriteFile(filepath.Join(dir, "old"), []byte("ONE\nTWO\n"), 0o600))
	in, err := os.Open(filepath.Join(dir, "in"))
	must(f, err)
	old, err := os.Open(filepath.Join(dir, "old"))
	must(f, err)
	f.Cleanup(func() { in.Close(); old.Close() })
	now, err := identify(in)
	must(f, err)
	first := piece{In: sha256.Sum256([]byte("one\n")), Out: sha256.Sum256([]byte("ONE\n")), Size: 4, Made: 4, Ends: true}
	last := piece{In: sha256.Sum256([]byte("two\n")), Out: sha256.Sum256([]byte("TWO\n")), Size: math.MaxInt64, Made: math.MaxInt64}
	for _, pieces := range [][]piece{nil, {first}, {first, last}, {last, last, first, last}} {
		good, err := formatIndex(index{File: "in", Boot: "b", Input: now, Pieces: pieces})
		must(f, err)
		_, body, _ := bytes.Cut(good, []byte("\n"))
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := parseIndex(append([]byte("0\n"), body...)); err == nil {
			t.Error("a wrong checksum is right")
		}
		x, err := parseIndex(fmt.Appendf(nil, "%x\n%s", sha256.Sum256(body), body))
		if err != nil {
			return
		}
		p := &split{entry: entry{path: "in", size: now.Size}, in: in, now: now, old: old, index: x}
		if !p.unchanged() {
			must(t, p.divide(t.Context()))
		}
		must(t, (&stage{}).reuse(t.Context(), p))
		for _, q := range p.pieces {
			if out, _ := digestOf(old, q.from, q.Made, nil); q.known && out != q.Out {
				t.Errorf("%+v is not in the old result", q)
			}
		}
	})
}

// TestKey: a result depends on what the module may see, so also on the memory
// that it may have, of which the device decides; not on what else bounds it.
func TestKey(t *testing.T) {
	h, step := &Host{}, Step{Module: "m", Digest: "sha256:m", From: 1, To: 2, Limits: Limits{Memory: 1 << 20}}
	moved, hurried, modest, other := step, step, step, step
	moved.Module = "n"
	hurried.Limits.CPU, hurried.Limits.Wall, hurried.Limits.Output, hurried.Limits.Log = 1, 1, 1, 1
	modest.Limits.Memory = 2 << 20
	other.Digest = "sha256:n"
	for name, test := range map[string]struct {
		host *Host
		step Step
		same bool
	}{
		"elsewhere":            {h, moved, true},
		"other limits":         {h, hurried, true},
		"another memory":       {h, modest, false},
		"another module":       {h, other, false},
		"a device with less":   {&Host{Ceiling: Limits{Memory: 1 << 19}}, step, false},
		"a device with more":   {&Host{Ceiling: Limits{Memory: 1 << 30}}, step, true},
		"a device with enough": {&Host{Ceiling: Limits{Memory: 1 << 20}}, step, true},
	} {
		if same := test.host.Key(test.step) == h.Key(step); same != test.same {
			t.Errorf("%s: the key is the same: %v", name, same)
		}
	}
}

// TestMemoOfOtherMemory: what was made with more memory than there is now is made
// again.
func TestMemoOfOtherMemory(t *testing.T) {
	h := newHistory(t)
	text := readings(2*minPiece, 1)
	h.becomes(text)
	h.step.Limits.Memory = 1 << 20
	if report := h.becomes(text); report.Kept > 0 {
		t.Errorf("%d pieces were kept", report.Kept)
	}
	if report := h.becomes(text); report.Kept == 0 {
		t.Error("nothing was kept")
	}
}
