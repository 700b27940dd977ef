package native

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
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

// dir holds the modules, whose digests are in made, and in sandbox the program that knows
// their native code.
var (
	dir, known string
	made       = map[string]string{}
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// shared has the value of dir in the workers of a fuzzing process, which do not
// build anything again: they have ten seconds for each input.
const shared = "TRANQUIL_NATIVE_TEST"

func run(m *testing.M) int {
	var err error
	if dir = os.Getenv(shared); dir != "" {
		return m.Run()
	}
	if dir, err = os.MkdirTemp("", "native-"); err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv(shared, dir)
	out, err := command("go", "run", "../build", "-o", dir).Output()
	if err == nil {
		for line := range strings.Lines(string(out)) {
			name, digest, _ := strings.Cut(strings.TrimSpace(line), "=")
			made[name] = digest
		}
		known = strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", ",")
		err = build("sandbox", "./testdata/sandbox")
	}
	if err != nil {
		log.Printf("cannot build the modules and their sandbox: %v", err)
		return 1
	}
	return m.Run()
}

func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	return cmd
}

// build makes a program that knows the modules.
func build(name, source string, env ...string) error {
	flags := "-ldflags=-s -w -X github.com/tranquil-iot/tranquil/transforms/native.digests=" + known
	cmd := command("go", "build", "-o", filepath.Join(dir, name), flags, source)
	cmd.Env = append(cmd.Env, env...)
	return cmd.Run()
}

// hosts run modules as Wasm and as native code.
func hosts(t testing.TB) (wasm, native *host.Host) {
	cache, program := filepath.Join(dir, "cache"), filepath.Join(dir, "sandbox")
	wasm, native = &host.Host{Cache: cache, Program: program, Wasm: true}, &host.Host{Cache: cache, Program: program}
	t.Cleanup(wasm.Keep())
	t.Cleanup(native.Keep())
	return wasm, native
}

// A trial is a transform with its params, and a state.
type trial struct {
	name  string // of the transform
	step  host.Step
	state transformtest.State
}

// a makes a trial of what is on the command line "-p NAME=VALUE --format FORMAT".
func a(name, format, param, value string, state transformtest.State) trial {
	t := trial{name, host.Step{From: 1, To: 2, Format: format, Params: map[string]string{param: value}}, state}
	if name == "rename" {
		t.step.Mode = host.Tree
	}
	return t
}

// run returns the new state, or the failure.
func (t trial) run(tb testing.TB, h *host.Host) (transformtest.State, host.Report, string) {
	tb.Helper()
	old, out := filepath.Join(tb.TempDir(), "old"), filepath.Join(tb.TempDir(), "new")
	if err := t.state.Write(old); err != nil {
		tb.Fatal(err)
	}
	t.step.Module, t.step.Digest = filepath.Join(dir, t.name+".wasm"), made[t.name]
	report, err := h.Run(tb.Context(), []host.Step{t.step}, old, out, nil)
	if e, ok := errors.AsType[*host.Error](err); ok {
		return nil, report, string(e.Class) + ": " + err.Error()
	}
	if err != nil {
		tb.Fatal(err)
	}
	state, err := transformtest.ReadState(out)
	if err != nil {
		tb.Fatal(err)
	}
	return state, report, ""
}

// limited reports whether a run ended for want of time or memory, of which
// native code needs less.
func limited(failure string) bool {
	for _, class := range []host.Class{host.Deadline, host.ResourceLimit, host.StackOverflow} {
		if strings.HasPrefix(failure, string(class)) {
			return true
		}
	}
	return false
}

// same wants the same bytes or the same failure in the same words of both, and
// reports whether it was bytes.
func (t trial) same(tb testing.TB, wasm, native *host.Host) bool {
	tb.Helper()
	want, _, failure := t.run(tb, wasm)
	got, report, other := t.run(tb, native)
	if limited(failure) || limited(other) {
		return false
	}
	if failure != other {
		tb.Errorf("%s %v: Wasm fails with %q, native code with %q", t.name, t.step.Params, failure, other)
	} else if diff := transformtest.Diff(want, got); diff != "" || fmt.Sprintf("%q", want) != fmt.Sprintf("%q", got) {
		tb.Errorf("%s %v: Wasm and native code differ: %s", t.name, t.step.Params, diff)
	}
	if failure == "" && !report.Native && len(t.state) > 0 {
		tb.Errorf("%s: the native code was not used", t.name)
	}
	return failure == ""
}

// In the sandbox, the native code of each transform does what its module does;
// with TRANQUIL_386 set also with integers of 32 bits, as a device with ARMv7 has.
func TestSameAsModules(t *testing.T) {
	wasm, native := hosts(t)
	natives := []*host.Host{native}
	if os.Getenv("TRANQUIL_386") != "" {
		if err := build("sandbox386", "./testdata/sandbox", "GOARCH=386"); err != nil {
			t.Fatal(err)
		}
		natives = append(natives, &host.Host{Cache: native.Cache, Program: filepath.Join(dir, "sandbox386")})
	}
	lines := generated()
	for _, native := range natives {
		for _, trial := range trials(t) {
			trial.same(t, wasm, native)
		}
		if !a("sqlite", "sqlite", "sql", sizable, transformtest.State{"a.db": database(t)}).same(t, wasm, native) {
			t.Error("the sizable database is refused")
		}
		for _, try := range tried {
			trial := a(try.name, "ndjson", try.param, try.value, transformtest.State{"a": lines})
			if !trial.same(t, wasm, native) {
				t.Errorf("%s %v refuses what was generated", try.name, try.value)
			}
		}
	}
}

// SQLite is deep, and an interpreter's stack is not: it goes as deep as SQL may,
// to the same result.
func TestInterpreted(t *testing.T) {
	wasm, _ := hosts(t)
	interpreter := &host.Host{Cache: wasm.Cache, Program: wasm.Program, Interpret: true}
	deep := "CREATE TABLE t AS SELECT " + strings.Repeat("abs(", 190) + "7" + strings.Repeat(")", 190) + " AS x" + strings.Repeat(" UNION ALL SELECT 1", 90)
	nested := "CREATE TABLE u AS " + strings.Repeat("SELECT * FROM (", 60) + "SELECT 1 AS x" + strings.Repeat(")", 60)
	objects := `CREATE TABLE v AS SELECT json_extract(` + "'" + strings.Repeat("[", 900) + strings.Repeat("]", 900) + "'" + `, '$[0]') AS x`
	for _, sql := range []string{"UPDATE reading SET celsius = celsius / 3; CREATE INDEX i ON reading (celsius)", deep, nested, objects} {
		trial := a("sqlite", "sqlite", "sql", sql, transformtest.State{"a.db": database(t)})
		want, _, failure := trial.run(t, wasm)
		got, _, other := trial.run(t, interpreter)
		if failure != "" || other != "" {
			t.Errorf("%.60s: compiled %s, interpreted %s", sql, failure, other)
		} else if diff := transformtest.Diff(want, got); diff != "" {
			t.Errorf("%.60s: %s", sql, diff)
		}
	}
}

func trials(t testing.TB) []trial {
	type state = transformtest.State
	db := database(t)
	return []trial{
		a("identity", "", "a", "b", state{"a": "\x00\xff", "b/c": "text"}),
		a("jq", "json", "program", ".a |= map(. * 1.1 / 3 | sqrt) | .f = $file", state{"a": `{"a":[1,2.5,1e30],"é":1.50}`, "b": `{"a":[]}`}),
		a("jq", "json", "program", ".", state{"a": "{"}),
		a("jq", "json", "program", `error("no")`, state{"a": "1"}),
		a("jq", "json", "program", "{", state{"a": "1"}),
		a("jq", "ndjson", "program", `[strptime("%Y-%m-%d") | mktime, todate?] , 1`, state{"a": "\"2026-11-29\"\n\"2026-02-28\"\n"}),
		a("jq", "json", "program", `[localtime, strflocaltime("%H %Z")]`, state{"a": "1"}),
		a("jsonpatch", "json", "patch", `[{"op":"move","from":"/a","path":"/b"}]`, state{"a": `{"a":1.50}`}),
		a("jsonpatch", "json", "merge", `{"a":null}`, state{"a": `{"a":1}`, "b": "[1"}),
		a("rename", "", "rules", "a/ -> b/", state{"a/c": "1", "d": "2"}),
		a("rename", "", "rules", "z -> y", state{"d": "2"}),
		a("sqlite", "sqlite", "sql", "ALTER TABLE reading RENAME COLUMN celsius TO kelvin; UPDATE reading SET kelvin = kelvin + 273.15", state{"a.db": db, "b.db": db}),
		a("sqlite", "sqlite", "sql", "CREATE TABLE t AS SELECT random() AS r, randomblob(9) AS b, datetime('now', 'localtime') AS n, exp(1.5) AS e, pow(3, 0.3) AS p, sin(9) AS s", state{"a.db": db}),
		a("sqlite", "sqlite", "sql", "ATTACH '/tmp/other.db' AS other", state{"a.db": db}),
		a("sqlite", "sqlite", "sql", "SELECT gone FROM reading", state{"a.db": db}),
		a("sqlite", "sqlite", "no", "", state{"a.db": db}),
		a("sqlite", "sqlite", "sql", "SELECT 1", state{"a.db": db[:len(db)-1000]}),
	}
}

// sizable makes a database of megabytes, with what SQLite keeps in memory meanwhile.
const sizable = `CREATE TABLE t (x INTEGER PRIMARY KEY, y REAL, z TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO t SELECT i, i / 7.0, hex(i * i) || printf('%.17g', sqrt(i)) FROM n;
CREATE INDEX by_z ON t (z, y); ANALYZE; DELETE FROM t WHERE x % 3 = 0;
CREATE TABLE u AS SELECT z, sum(y) OVER (ORDER BY z) AS s FROM t ORDER BY y DESC;
ALTER TABLE t ADD COLUMN w AS (x + 1); ALTER TABLE u DROP COLUMN s`

func database(t testing.TB) string {
	data, err := os.ReadFile("testdata/readings.db")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Of a database whose pages are all in place SQLite still finds what is damaged
// in them, whatever transform made it.
func TestIntegrity(t *testing.T) {
	_, native := hosts(t)
	sound, _, failure := a("sqlite", "sqlite", "sql", "CREATE TABLE t (x); CREATE INDEX i ON t (x); INSERT INTO t VALUES ('here is a row')",
		transformtest.State{"a.db": database(t)}).run(t, native)
	if failure != "" {
		t.Fatal(failure)
	}
	for content, want := range map[string]string{"here is a row": "", "here is a cow": "invalid output: the database is damaged: row 1 missing from index i"} {
		state := transformtest.State{"a.db": strings.Replace(sound["a.db"], "here is a row", content, 1)}
		_, _, failure := a("identity", "sqlite", "a", "b", state).run(t, native)
		if !strings.HasSuffix(failure, want) || (failure == "") != (want == "") {
			t.Errorf("%s: got %q, want %q", content, failure, want)
		}
	}
}

// A database that is too large to be looked into is accepted by its format, and
// the report names it.
func TestUnchecked(t *testing.T) {
	if err := build("patient", "./testdata/patient"); err != nil {
		t.Fatal(err)
	}
	h := &host.Host{Cache: filepath.Join(dir, "cache"), Program: filepath.Join(dir, "patient"), Ceiling: host.Limits{CPU: time.Second}}
	state := transformtest.State{"a.db": database(t), "deep/b.db": database(t)}
	for name, rules := range map[string]string{"identity": "", "rename": "?b -> c"} {
		got, report, failure := a(name, "sqlite", "rules", rules, state).run(t, h)
		slices.Sort(report.Unchecked)
		if failure != "" || len(got) != len(state) || !slices.Equal(report.Unchecked, []string{"a.db", "deep/b.db"}) {
			t.Errorf("%s: %q, %d files, unchecked %q", name, failure, len(got), report.Unchecked)
		}
	}
}

// An author learns from the module, not from native code, what any device does,
// unless asked otherwise: Wasm has no memory for this state, native code has.
func TestAsked(t *testing.T) {
	if err := build("tranquil", "../../sdk/cmd/tranquil"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "xdg"))
	state := filepath.Join(t.TempDir(), "state")
	one := `{"at":"2026-11-29T08:00:00Z","value":20.5,"sensor":{"name":"hall","floor":1}}`
	large := "[" + strings.Repeat(one+",", 90_000) + one + "]"
	if err := (transformtest.State{"a": large}).Write(state); err != nil {
		t.Fatal(err)
	}
	for native, want := range map[string]string{"--native=false": "out of memory", "--native": "of native code"} {
		cmd := exec.Command(filepath.Join(dir, "tranquil"), "transform", "run", filepath.Join(dir, "jq.wasm"), state, filepath.Join(t.TempDir(), "out"),
			"-p", "program=.", "--format", "json", native)
		text, err := cmd.CombinedOutput()
		if got := string(text); !strings.Contains(got, want) || (err == nil) != (native == "--native") || strings.Contains(got, "of 128.0 MiB") {
			t.Errorf("%s: %v\n%s", native, err, got)
		}
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
