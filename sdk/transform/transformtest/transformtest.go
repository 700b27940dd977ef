// Package transformtest tests state transforms where they will run: in the
// real sandbox, as WebAssembly. A directory of examples, each with the state
// before and after, "old" and "new", is enough:
//
//	func TestMain(m *testing.M) { transformtest.Main(m) }
//
//	func TestTransform(t *testing.T) {
//		module := transformtest.Build(t, ".")
//		transformtest.Test(t, "testdata",
//			transformtest.Edge{Step: host.Step{Module: module, From: 1, To: 2, Format: "json"}},
//			transformtest.Edge{Step: host.Step{Module: module, From: 2, To: 1, Format: "json"}})
//	}
//
// The command tranquil transform test does the same for transforms in any
// language.
package transformtest

import (
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// cache holds the modules compiled by the tests of a package; sandbox is the
// program that runs them, "" for the test binary.
var cache, sandbox string

// Main runs the tests of a package that uses this kit, which TestMain must
// leave to it: the test binary is its own sandbox, unless the race detector
// would slow that down.
func Main(m *testing.M) {
	host.Main(nil)
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "transformtest-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cache = filepath.Join(dir, "cache")
	if raced {
		sandbox = filepath.Join(dir, "sandbox")
		build := exec.Command("go", "build", "-ldflags=-s -w", "-o", sandbox, "github.com/tranquil-iot/tranquil/sdk/transform/host/sandbox")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			log.Fatalf("cannot build the sandbox: %v\n%s", err, out)
		}
	}
	return m.Run()
}

// Host returns the host of the tests of a package, which compiles each module
// once.
func Host(t testing.TB) *host.Host {
	t.Helper()
	if cache == "" {
		t.Fatal("TestMain must call transformtest.Main")
	}
	return &host.Host{Cache: cache, Program: sandbox}
}

// Build compiles the Go command in a directory to Wasm and returns the path of
// the module, which lasts as long as the test.
func Build(t testing.TB, dir string) string {
	t.Helper()
	module := filepath.Join(t.TempDir(), "transform.wasm")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", module, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the transform: %v\n%s", err, out)
	}
	return module
}

// Golden applies the steps to the state in dir/old and wants the state in
// dir/new, byte by byte.
func Golden(t testing.TB, dir string, steps ...host.Step) {
	t.Helper()
	got, err := Run(t, filepath.Join(dir, "old"), steps...)
	if err != nil {
		t.Fatal(err)
	}
	Same(t, filepath.Join(dir, "new"), got)
}

// Run applies the steps to a state and returns the directory of the result.
// What a module does wrong comes back as *[host.Error].
func Run(t testing.TB, state string, steps ...host.Step) (string, error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "state")
	_, err := Host(t).Run(t.Context(), steps, state, out, nil)
	return out, err
}

// Same wants two directories to hold the same files with the same content.
func Same(t testing.TB, want, got string) {
	t.Helper()
	if diff := Diff(read(t, want), read(t, got)); diff != "" {
		t.Errorf("the state differs:\n%s", diff)
	}
}

func read(t testing.TB, dir string) State {
	t.Helper()
	state, err := ReadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// variations is how many variations of each example Test tries on each edge.
const variations = 24

// Test does all that a [Suite] can on the cases in a directory (see
// [ReadCases]).
func Test(t testing.TB, dir string, edges ...Edge) {
	t.Helper()
	cases, err := ReadCases(dir, edges)
	if err != nil {
		t.Fatal(err)
	}
	suite := Suite{Host: Host(t), Edges: edges, Cases: cases, Variations: variations}
	result, err := suite.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, failure := range result.Failures {
		t.Errorf("%s", failure)
	}
}
