package transforms_test

import (
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// bin holds the command line and, in transforms, the ready-made transforms.
var bin string

func TestMain(m *testing.M) {
	host.Main(nil) // the benchmarks run modules
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "example-transforms-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	bin = dir
	os.Setenv("CGO_ENABLED", "0") // as make build does it, so that less is compiled again
	digests, err := exec.Command("go", "run", "../../transforms/build", "-o", filepath.Join(bin, "transforms"), "jq", "jsonpatch", "rename", "sqlite").Output()
	if err != nil {
		log.Printf("cannot build the ready-made transforms: %v", err)
		return 1
	}
	native := "-s -w -X github.com/tranquil-iot/tranquil/transforms/native.digests=" + strings.ReplaceAll(strings.TrimSpace(string(digests)), "\n", ",")
	build := exec.Command("go", "build", "-ldflags="+native, "-o", filepath.Join(bin, "tranquil"), "../../sdk/cmd/tranquil")
	if out, err := build.CombinedOutput(); err != nil {
		log.Printf("cannot build the command line: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// tranquil runs the command line and returns what it prints.
func tranquil(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "tranquil"), args...)
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(bin, "cache"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("tranquil %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The common cases need no code: a package is tested and built from its recipe.
func TestReadymade(t *testing.T) {
	tranquil(t, "transform", "test", "readymade", "--variations", "3")
	path := filepath.Join(t.TempDir(), "package.tar")
	tranquil(t, "package", "build", "readymade", "-o", path)
	shown := tranquil(t, "package", "inspect", path)
	for _, want := range []string{"1 → 2 → 3", "back 3 → 2 → 1", "program="} {
		if !strings.Contains(shown, want) {
			t.Errorf("inspect does not show %q:\n%s", want, shown)
		}
	}
}
