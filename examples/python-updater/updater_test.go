// Package pythonupdater holds the updater in Python to what the conformance kit asks for.
package pythonupdater

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPythonUpdater is what its author does, without make: the folder stays clean.
func TestPythonUpdater(t *testing.T) {
	t.Parallel()
	if err := exec.Command("/usr/bin/python3", "-c", "import grpc, google.protobuf").Run(); err != nil {
		t.Skip("######## NOT TESTED: Python has no grpcio. Run make deps. ########")
	}
	dir := t.TempDir()
	for _, args := range [][]string{
		{"cp", "updater", "running", dir},
		{"protoc", "-I../../sdk/updater/proto", "--python_out=" + dir, "updater.proto"},
		{"env", "CGO_ENABLED=0", "go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "tranquil"), "../../sdk/cmd/tranquil"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	cmd := exec.Command("./tranquil", "updater", "test", "./updater", "--running", `./running "$1"`)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
