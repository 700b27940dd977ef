package transformtest

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

func TestMain(m *testing.M) { Main(m) }

// witness records what the kit reports as failed.
type witness struct {
	testing.TB
	failed bool
}

func (w *witness) Helper()               {}
func (w *witness) Errorf(string, ...any) { w.failed = true }

// edges are those of the gauge, in pairs from and to.
func edges(module, flaw string, pairs ...int) []Edge {
	var edges []Edge
	for i := 0; i < len(pairs); i += 2 {
		edges = append(edges, Edge{Step: host.Step{
			Module: module, From: pairs[i], To: pairs[i+1], Format: "json",
			Files: []string{"*.json"}, Params: map[string]string{"flaw": flaw},
		}})
	}
	return edges
}

func TestGolden(t *testing.T) {
	module := "testdata/gauge/gauge.wasm"
	t.Run("kit", func(t *testing.T) {
		all := edges(module, "", 1, 2, 2, 1, 2, 3, 3, 2, 1, 3)
		if text := failures(t, Suite{Edges: all, Variations: 1}); text != "" {
			t.Error(text)
		}
		Test(t, "testdata/few", all[3])
	})
	t.Run("pair", func(t *testing.T) {
		Golden(t, "testdata/up", edges(module, "", 1, 2)[0].Step)
		wrong := &witness{TB: t}
		Same(wrong, "testdata/up/old", "testdata/up/new")
		if !wrong.failed {
			t.Error("a difference was not reported")
		}
	})
	t.Run("flaws", func(t *testing.T) { testFlaws(t, module) })
}

// Each flaw is found, told in words, and shown on a small example.
func testFlaws(t *testing.T, module string) {
	for _, test := range []struct {
		flaw       string
		pairs      []int
		variations int
		want       []string
	}{
		{"digits", []int{1, 2, 2, 1}, 0, []string{"three: 1→2: ", `-    20.50,`, `+    20.5,`}},
		{"panic", []int{1, 2}, 12, []string{
			"three: variation 1→2: transform 1→2 of gauge.json: trap: ",
			"the smallest state that does this:\n-- gauge.json --\n{\"c\":[",
		}},
		{"detour", []int{1, 2, 2, 1, 2, 3, 3, 2, 1, 3}, 0, []string{`three: 1→2→3 as 1→3: `, `-  "unit": "K"`, `+  "unit": "C"`}},
		{"", []int{2, 3}, 0, []string{"three: 1→2: no transform leads there"}},
	} {
		text := failures(t, Suite{Edges: edges(module, test.flaw, test.pairs...), Variations: test.variations, Seed: 1})
		for _, want := range test.want {
			if !strings.Contains(text, want) {
				t.Errorf("flaw %q: %q is not in\n%s", test.flaw, want, text)
			}
		}
	}
}

// A direct edge that differs from the chain around it on some states only is
// found on a variation, which is made small.
func TestDetourOfVariation(t *testing.T) {
	all := edges("testdata/gauge/gauge.wasm", "", 1, 2, 2, 3, 1, 3)
	all[2].Params, all[2].Lossy = map[string]string{"flaw": "seldom"}, true
	suite := Suite{Edges: all, Seed: 1}
	if text := failures(t, suite); text != "" {
		t.Errorf("on the examples: %s", text)
	}
	suite.Variations = 10
	text := failures(t, suite)
	want := "three: variation, 1→2→3 as 1→3: --- want/gauge.json"
	_, example, ok := strings.Cut(text, "the smallest state that does this:\n")
	if !strings.HasPrefix(text, want) || strings.Count(text, want) != 1 || !ok || len(example) > 60 {
		t.Errorf("want %s and a small example, got\n%s", want, text)
	}
}

// Edges that are lossy both ways may lose something once, but not each time;
// the author hears that nobody knows what should come back.
func TestLossyBothWays(t *testing.T) {
	for flaw, want := range map[string]string{"": "", "drift": "a: once more 1→2→1: "} {
		all := edges("testdata/gauge/gauge.wasm", flaw, 1, 2, 2, 1)
		all[0].Lossy, all[1].Lossy = true, true
		suite := Suite{Host: Host(t), Edges: all, Cases: []Case{{Name: "a", States: map[int]State{
			1: {"a.json": `{"c":[10]}`}, 2: {"a.json": `{"celsius":[10]}` + "\n"},
		}}}}
		result, err := suite.Run(t.Context())
		if err != nil || len(result.Unchecked) != 1 {
			t.Fatalf("%+v, %v", result, err)
		}
		var text string
		for _, failure := range result.Failures {
			text += failure.String()
		}
		if !strings.Contains(text, want) || want == "" && text != "" {
			t.Errorf("flaw %q: %s", flaw, text)
		}
	}
}

// Whoever has a database in an example hears that it did not vary.
func TestBinary(t *testing.T) {
	for content, want := range map[string]bool{"SQLite format 3\x00": true, `{"c":[1]}`: false, "": false} {
		r := &suiteRun{Suite: &Suite{
			Edges: edges("testdata/gauge/gauge.wasm", "", 1, 2), Variations: 1,
			Cases: []Case{{Name: "a", States: map[int]State{1: {"a": content}}}},
		}}
		if r.plan(); r.found.Binary != want {
			t.Errorf("%q: got %v", content, r.found.Binary)
		}
	}
}

// endless is (module (memory (export "memory") 1) (func (export "_start") loop br 0 end)).
const endless = "\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x01" +
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00\x0a\x09\x01\x07\x00\x03\x40\x0c\x00\x0b\x0b"

// The first run into a limit is the last: the others might take as long. That
// holds for variations too, which are not made smaller then.
func TestEndless(t *testing.T) {
	module := filepath.Join(t.TempDir(), "endless.wasm")
	if err := os.WriteFile(module, []byte(endless), 0o600); err != nil {
		t.Fatal(err)
	}
	h := Host(t)
	h.Ceiling.Wall = 200 * time.Millisecond
	example := State{"a.json": "[1,2,3]"}
	s := Suite{
		Host: h, Edges: edges(module, "", 1, 2, 2, 1), Variations: 20,
		Cases: []Case{{Name: "a", States: map[int]State{1: example, 2: example}}},
	}
	result, err := s.Run(t.Context())
	if err != nil || result.Checks != 1 || result.Skipped < 40 || len(result.Failures) != 1 || !strings.Contains(result.Failures[0].String(), "deadline") {
		t.Errorf("%+v, %v", result, err)
	}
	r := &suiteRun{Suite: &s, ctx: t.Context(), dir: t.TempDir(), total: 1}
	if err := r.variation(s.Cases[0], s.Edges[0], example); err != nil || r.runs != 1 || len(r.found.Failures) != 1 {
		t.Errorf("%d runs, %+v, %v", r.runs, r.found, err)
	}
}

// A module that no device would run fails once, whatever was to be checked, and
// examples that an edge is about have to be there.
func TestNothingToTest(t *testing.T) {
	module := filepath.Join(t.TempDir(), "bad.wasm")
	if err := os.WriteFile(module, []byte(endless[:40]), 0o600); err != nil {
		t.Fatal(err)
	}
	examples := []Case{
		{Name: "a", States: map[int]State{1: {"a.json": "[1]"}}, Refused: "no c"},
		{Name: "b", States: map[int]State{1: {"a.json": "[1]", "c": "2"}, 2: {"a.json": "[1]"}}},
	}
	for module, want := range map[string]string{
		module:                      "transform 1→2: module refused: it is truncated",
		"testdata/gauge/gauge.wasm": `1→2: no example has a file like its files, ["*.jsn" "b"]: nothing of it is tested`,
	} {
		all := edges(module, "", 1, 2, 2, 1)
		if !strings.HasPrefix(want, "transform") {
			all[0].Files, all[1].Files = []string{"*.jsn", "b"}, []string{"*.json", "d"}
		}
		suite := Suite{Host: Host(t), Edges: all, Cases: examples, Variations: 2}
		result, err := suite.Run(t.Context())
		if err != nil || len(result.Failures) == 0 || !strings.HasPrefix(result.Failures[0].String(), want) {
			t.Errorf("%+v, %v, want %s", result, err, want)
		}
		if bad := strings.HasPrefix(want, "transform"); bad && (result.Checks != 1 || len(result.Failures) != 1 || result.Skipped == 0 || result.Stopped == "") {
			t.Errorf("it went on: %+v", result)
		}
		if all[0].Files[0] == "*.jsn" && (len(all[0].Unused(examples)) != 2 || len(all[1].Unused(examples)) != 1) {
			t.Errorf("unused: %v, %v", all[0].Unused(examples), all[1].Unused(examples))
		}
	}
}

func failures(t *testing.T, suite Suite) string {
	t.Helper()
	cases, err := ReadCases("testdata/cases", []Edge{{Step: host.Step{From: 1, To: 3}}})
	if err != nil {
		t.Fatal(err)
	}
	suite.Host, suite.Cases = Host(t), cases
	result, err := suite.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, failure := range result.Failures {
		text.WriteString(failure.String() + "\n")
	}
	return text.String()
}

// A variation keeps the shape, and shrinking ends.
func TestVary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	state := State{"a.json": `{"b":[1,2.50,{"c":"d"}],"a":null}` + "\n", "l": "{\"x\":1}\n{\"x\":2}\n", "raw": "\x00", "conf": "a=5\nb=0.25\n"}
	different := false
	for i := range 200 {
		varied := Vary(r, state)
		docs, err := parseDocuments(varied["a.json"])
		if err != nil || len(docs) != 1 || len(docs[0].keys) != 2 || varied["raw"] != "\x00" {
			t.Fatalf("%q: %v", varied, err)
		}
		different = different || varied["a.json"] != state["a.json"]
		varied = vary(r, state, twists(r, state, state.text()), i)
		for steps := 0; ; steps++ {
			next, ok := State(nil), false
			for s := range smaller(varied) {
				next, ok = s, true
				break
			}
			if !ok {
				break
			}
			if varied = next; steps > 100 {
				t.Fatalf("there is always something smaller than %q", varied)
			}
		}
	}
	if !different {
		t.Error("nothing varied")
	}
}

// What cannot be seen in a text is shown.
func TestVisible(t *testing.T) {
	for content, want := range map[string]string{
		"a=1\n\tb\n": "a=1\n\tb", "": "(empty)", "a": "a\n(no end of line)", "a\r\n\n": "\"a\\r\"\n", "\ufeffé\n": "\"\\ufeffé\"", "a \n": "\"a \"",
		strings.Repeat("x", 1000) + "\n": strings.Repeat("x", 200) + "… (1000 bytes)",
	} {
		if got := visible(content); got != want {
			t.Errorf("%q: got %q, want %q", content, got, want)
		}
	}
}

func TestDiffOfDatabase(t *testing.T) {
	if got := Diff(State{"a": sqlite + "1"}, State{"a": sqlite + "2"}); !strings.HasPrefix(got, "a differs: a database comes back with its rows") {
		t.Error(got)
	}
}

// Lines that look the same do not.
func TestDiffOfUnseen(t *testing.T) {
	got := Diff(State{"a": "x\r\n\ufeff"}, State{"a": "x\n"})
	if !strings.Contains(got, `-x\r`) || !strings.Contains(got, "-\\ufeff") || !strings.Contains(got, "\n+x\n") {
		t.Error(got)
	}
}

// How JSON is written counts for nothing in mode tree either, in files named so.
func TestCanonical(t *testing.T) {
	state := State{"a.json": `{"b":1, "a":2}`, "a.conf": `{ }`, "l.ndjson": "1\n2"}
	tree := state.canonical([]Edge{{Step: host.Step{Mode: host.Tree}}})
	if tree["a.json"] != `{"a":2,"b":1}`+"\n" || tree["a.conf"] != `{ }` || tree["l.ndjson"] != "1\n2\n" {
		t.Errorf("%q", tree)
	}
	if filter := state.canonical([]Edge{{}}); filter["a.json"] != state["a.json"] {
		t.Errorf("%q", filter)
	}
}

// An example that would not be what its author thinks is refused.
func TestReadCasesRefuses(t *testing.T) {
	for want, files := range map[string]State{
		"b.txt looks like a test case: name it":  {"a/old/x": "1", "b.txt": "-- old/x --\n1\n"},
		"a.txtar: old/x is in it twice":          {"a.txtar": "-- old/x --\n1\n-- old/x --\n2\n"},
		"new/../x is no path in a state":         {"a.txtar": "-- old/x --\n1\n-- new/../x --\n2\n"},
		"its file refused is empty":              {"a/old/x": "1", "a/refused": "\n"},
		"link is neither a file nor a directory": {"a/old/x": "1"},
		"":                                       {"a/old/x": "1", "README": "what they are"},
	} {
		dir := t.TempDir()
		err := files.Write(dir)
		if strings.HasPrefix(want, "link") {
			err = errors.Join(err, os.Symlink("x", filepath.Join(dir, "a/old/link")))
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = ReadCases(dir, []Edge{{Step: host.Step{From: 1, To: 2}}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %s: got %v", want, err)
		}
	}
}

func TestReadCases(t *testing.T) {
	all := []Edge{{Step: host.Step{From: 1, To: 2}}}
	for name, want := range map[string]string{
		"old/a": "", "1/a": "", "3/a": "neither old, new, back nor a schema from 1 to 2", "a": "is in no state", "back/a": "it has no state",
	} {
		c := Case{States: map[int]State{}}
		low, high := bounds(all)
		err := c.sort(State{name: "x"}, low, high)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadCases(t.TempDir(), all); err == nil || !strings.Contains(err.Error(), "there is no test case") {
		t.Error(err)
	}
}

func FuzzDocuments(f *testing.F) {
	f.Add(`{"a":[1,2.50,{"b":"\u2028"}],"c":null}`)
	f.Add("1\n2")
	f.Add(`{"a"`)
	f.Add(`{"a":[],`)
	f.Fuzz(func(t *testing.T, content string) {
		docs, err := parseDocuments(content)
		if err != nil {
			return
		}
		if again := format(docs, content); reformat(again) != reformat(content) {
			t.Errorf("%q became %q", content, again)
		}
	})
}

func TestExact(t *testing.T) {
	same := []string{"[1000]", "[1e3]", "[1000.0]", " [ 10.00e2 ] "}
	for _, content := range same {
		if reformat(content) != reformat(same[0]) {
			t.Errorf("%s is not %s", content, same[0])
		}
	}
	if got := reformat(`{"b":1.50,"a":[1e3,-0,"3/2",1e-7]}`); got != `{"a":[1000,0,"3/2",0.0000001],"b":1.5}`+"\n" {
		t.Errorf("shown as %s", got)
	}
	for _, other := range []string{"[1000.1]", `["1000"]x`, "[1e999999999]", "[9007199254740993]"} {
		if reformat(other) == reformat(same[0]) || reformat(other) == reformat("[9007199254740992]") {
			t.Errorf("%s is taken for another number", other)
		}
	}
}

func TestGrow(t *testing.T) {
	for content, kind := range map[string]string{
		`{"a":[1],"b":[{"c":[1]},2]}`: `{"a":[1],"b":[{"c":[1]},2,{"c":[1]},2,`,
		"{\"a\":1}\n{\"a\":2}\n":      "{\"a\":1}\n{\"a\":2}\n{\"a\":1}\n",
		"a=1\nb":                      "a=1\nb\na=1\nb\n",
		`{"a":1}`:                     `{"a":1}`,
		"\x00":                        "\x00",
	} {
		grown := Grow(content, 1000)
		if !strings.HasPrefix(grown, kind) || len(kind) > len(content) && len(grown) < 1000 {
			t.Errorf("%q became %.80q of %d bytes", content, grown, len(grown))
		}
	}
}

func TestBuild(t *testing.T) {
	if data := read(t, filepath.Dir(Build(t, "../host/testdata/opener"))); !strings.HasPrefix(data["transform.wasm"], "\x00asm") {
		t.Error("no module was built")
	}
}
