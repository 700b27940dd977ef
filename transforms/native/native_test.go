package native

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

func TestTable(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "jq=sha256:ab": 1, "jq=sha256:ab,sqlite=sha256:cd": 2, "other=sha256:ab": 0, "jq=": 0, "jq": 0, "jq=abc": 0,
	} {
		if got := len(table(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// build makes the modules and two command lines, one that knows them; with
// TRANQUIL_386 set also one that knows them with integers of 32 bits, as a
// device with ARMv7 has.
func build(t testing.TB) (dir, plain, knowing, knowing386 string) {
	t.Helper()
	dir = t.TempDir()
	goes := func(args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s: %v", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out))
	}
	plain, knowing = filepath.Join(dir, "plain"), filepath.Join(dir, "knowing")
	digests := strings.ReplaceAll(goes("run", "../build", "-o", dir), "\n", ",")
	goes("build", "-o", plain, "../../sdk/cmd/tranquil")
	flags := "-ldflags=-X github.com/tranquil-iot/tranquil/transforms/native.digests=" + digests
	goes("build", "-o", knowing, flags, "../../sdk/cmd/tranquil")
	if os.Getenv("TRANQUIL_386") != "" {
		t.Setenv("GOARCH", "386")
		knowing386 = filepath.Join(dir, "knowing386")
		goes("build", "-o", knowing386, flags, "../../sdk/cmd/tranquil")
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	return dir, plain, knowing, knowing386
}

// run transforms a state of several files, and returns the new one, or the
// failure.
func run(t *testing.T, program, module, state string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command(program, append([]string{"transform", "run", module, state, out, "-q", "--native"}, args...)...)
	text, err := cmd.CombinedOutput()
	if errors.As(err, new(*exec.ExitError)) {
		return string(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	files, err := transformtest.ReadState(out)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%q", files)
}

// In the sandbox, the native code of each transform does what its module does:
// the same bytes, and the same failures in the same words.
func TestSameAsModules(t *testing.T) {
	dir, plain, knowing, other386 := build(t)
	type trial struct {
		name  string
		args  []string
		files map[string]string
	}
	trials := []trial{
		{"identity", nil, map[string]string{"a": "\x00\xff", "b/c": "text"}},
		{"jq", []string{"-p", "program=.a |= map(. * 1.1 / 3 | sqrt) | .f = $file"}, map[string]string{"a": `{"a":[1,2.5,1e30],"é":1.50}`, "b": `{"a":[]}`}},
		{"jq", []string{"-p", "program=."}, map[string]string{"a": "{"}},
		{"jq", []string{"-p", "program=error(\"no\")"}, map[string]string{"a": "1"}},
		{"jq", []string{"-p", "program={"}, map[string]string{"a": "1"}},
		{"jq", []string{"-p", "program=[strptime(\"%Y-%m-%d\") | mktime, todate?] , 1", "--format", "ndjson"}, map[string]string{"a": "\"2026-11-29\"\n\"2026-02-28\"\n"}},
		{"jq", []string{"-p", "program=[localtime, strflocaltime(\"%H %Z\")]", "--format", "json"}, map[string]string{"a": "1"}},
		{"jsonpatch", []string{"-p", `patch=[{"op":"move","from":"/a","path":"/b"}]`}, map[string]string{"a": `{"a":1.50}`}},
		{"jsonpatch", []string{"-p", `merge={"a":null}`}, map[string]string{"a": `{"a":1}`, "b": "[1"}},
		{"rename", []string{"--mode", "tree", "-p", "rules=a/ -> b/"}, map[string]string{"a/c": "1", "d": "2"}},
		{"rename", []string{"--mode", "tree", "-p", "rules=z -> y"}, map[string]string{"d": "2"}},
	}
	for _, try := range tried {
		trials = append(trials, trial{try.name, []string{"--format", "ndjson", "-p", try.param + "=" + try.value}, map[string]string{"a": generated()}})
	}
	for _, test := range trials {
		state := filepath.Join(t.TempDir(), "state")
		if err := transformtest.State(test.files).Write(state); err != nil {
			t.Fatal(err)
		}
		module := filepath.Join(dir, test.name+".wasm")
		want, got := run(t, plain, module, state, test.args...), run(t, knowing, module, state, test.args...)
		if want != got {
			t.Errorf("%s %v: Wasm gives %s, native code %s", test.name, test.args, want, got)
		}
		if len(test.files["a"]) > 1000 && !strings.HasPrefix(want, "map[") {
			t.Errorf("%s %v refuses what was generated: %s", test.name, test.args, want)
		}
		if other386 != "" {
			if got := run(t, other386, module, state, test.args...); want != got {
				t.Errorf("%s %v: Wasm gives %s, native code of 386 %s", test.name, test.args, want, got)
			}
		}
	}
	testSQLite(t, dir, plain, knowing)
	testAsked(t, dir, knowing)
}

// An author learns from the module, not from native code, what any device does,
// unless asked otherwise: Wasm has no memory for this state, native code has.
func testAsked(t *testing.T, dir, knowing string) {
	state := filepath.Join(t.TempDir(), "state")
	one := `{"at":"2026-11-29T08:00:00Z","value":20.5,"sensor":{"name":"hall","floor":1}}`
	large := "[" + strings.Repeat(one+",", 90_000) + one + "]"
	if err := (transformtest.State{"a": large}).Write(state); err != nil {
		t.Fatal(err)
	}
	for native, want := range map[string]string{"--native=false": "out of memory", "--native": "of native code"} {
		cmd := exec.Command(knowing, "transform", "run", filepath.Join(dir, "jq.wasm"), state, filepath.Join(t.TempDir(), "out"),
			"-p", "program=.", "--format", "json", native)
		text, err := cmd.CombinedOutput()
		if got := string(text); !strings.Contains(got, want) || (err == nil) != (native == "--native") || strings.Contains(got, "of 128.0 MiB") {
			t.Errorf("%s: %v\n%s", native, err, got)
		}
	}
}

// SQLite is native code only: the module refuses where that is missing.
func testSQLite(t *testing.T, dir, plain, knowing string) {
	state, module := filepath.Join(t.TempDir(), "state"), filepath.Join(dir, "sqlite.wasm")
	database, err := os.ReadFile("testdata/readings.db")
	if err == nil {
		err = transformtest.State{"a.db": string(database)}.Write(state)
	}
	if err != nil {
		t.Fatal(err)
	}
	sql := []string{"-p", "sql=ALTER TABLE reading RENAME COLUMN celsius TO kelvin; UPDATE reading SET kelvin = kelvin + 273.15"}
	if got := run(t, plain, module, state, sql...); !strings.Contains(got, "this device has no native SQLite transform (go-sqlite3 v0.35.6)") {
		t.Errorf("without native code: %s", got)
	}
	got := run(t, knowing, module, state, sql...)
	if !strings.Contains(got, "SQLite format 3") || !strings.Contains(got, "kelvin") || strings.Contains(got, "celsius") {
		t.Errorf("with native code: %s", got)
	}
	if again := run(t, knowing, module, state, sql...); again != got {
		t.Error("another run gives other bytes")
	}
	if got := run(t, knowing, module, state, "-p", "sql=ATTACH '/tmp/other.db' AS other"); !strings.Contains(got, "state refused") {
		t.Errorf("another file: %s", got)
	}
}

// The programs and patches that are tried on whatever comes.
var tried = []struct{ name, param, value string }{
	{"jq", "program", `.`},
	{"jq", "program", `[.. | numbers] | add, (map(. * 1.1 - 3) | sort), (map(tostring) | join("/"))`},
	{"jq", "program", `to_entries? // . | tojson, length?, (try test("a+b") catch "no"), @base64, @uri`},
	{"jsonpatch", "patch", `[{"op":"copy","from":"/a","path":"/z"},{"op":"add","path":"/list/-","value":1.50}]`},
	{"jsonpatch", "merge", `{"a":{"b":null,"c":[1]}}`},
}

// generated are lines of JSON of all kinds.
func generated() string {
	r := rand.New(rand.NewPCG(1, 2))
	seed := transformtest.State{"a": `{"a":{"b":1.5,"d":"text"},"list":[1,2.50,"3",null,true],"aab":"aab"}` + "\n"}
	var lines strings.Builder
	for range 300 {
		line := seed
		for range r.IntN(4) {
			line = transformtest.Vary(r, line)
		}
		lines.WriteString(line["a"])
	}
	return lines.String()
}

// Native code neither panics nor depends on anything but its input.
func FuzzNative(f *testing.F) {
	f.Add(0, `[{"a":1}]`)
	f.Add(3, `{"a":1,"list":[]}`)
	f.Fuzz(func(t *testing.T, which int, input string) {
		try := tried[uint(which)%uint(len(tried))]
		edge := transform.Edge{From: 1, To: 2, Format: "ndjson", Params: map[string]string{try.param: try.value}}
		var out, again bytes.Buffer
		err := filters[try.name](strings.NewReader(input), &out, edge)
		if other := filters[try.name](strings.NewReader(input), &again, edge); fmt.Sprint(err) != fmt.Sprint(other) || !bytes.Equal(out.Bytes(), again.Bytes()) {
			t.Errorf("two runs differ: %v, %v", err, other)
		}
	})
}
