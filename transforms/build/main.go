// Build compiles the ready-made transforms to WebAssembly, the same bytes for
// the same sources and the same release of Go, wherever they lie:
//
//	go run ./transforms/build -o DIR [NAME…]
//
// It prints the digest of each module, as in "jq=sha256:…".
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const module = "github.com/tranquil-iot/tranquil"

// names are all the transforms; each is a program in transforms/cmd, but that
// of sqlite lies there built: its language is C.
var names = []string{"identity", "jq", "jsonpatch", "rename", "sqlite"}

func main() {
	out := flag.String("o", "bin/transforms", "directory for the modules")
	flag.Parse()
	wanted := flag.Args()
	if len(wanted) == 0 {
		wanted = names
	}
	if err := run(*out, wanted); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out string, wanted []string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	root, err := dirOf(module)
	if err != nil {
		return err
	}
	for _, name := range wanted {
		path := filepath.Join(out, name+".wasm")
		if err := compile(root, name, path); err != nil {
			return fmt.Errorf("cannot build %s: %w", name, err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Printf("%s=sha256:%x\n", name, sha256.Sum256(data))
	}
	return nil
}

const built = "transforms/sqlite/engine/sqlite.wasm"

// compile leaves out whatever differs from one machine to another.
func compile(root, name, path string) error {
	if name == "sqlite" {
		data, err := os.ReadFile(filepath.Join(root, built))
		if err != nil {
			return err
		}
		return os.WriteFile(path, data, 0o666)
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", path}
	build := exec.Command("go", append(args, module+"/transforms/cmd/"+name)...)
	build.Dir = root
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOEXPERIMENT=", "GOWASM=", "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	return build.Run()
}

// dirOf returns where the sources of a module lie.
func dirOf(path string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		return "", fmt.Errorf("cannot find %s: %w", path, err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" {
		return "", fmt.Errorf("the sources of %s are not here: run go mod download", path)
	}
	return dir, nil
}
