package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

func TestMain(m *testing.M) { transformtest.Main(m) }

// TestInTheSandbox takes a whole state up to schema 3 and back down, compiled
// and confined as on a device: the same bytes must come back.
func TestInTheSandbox(t *testing.T) {
	state := map[string]string{
		"calibration.json": files["calibration.json"][1],
		"total.json":       files["total.json"][1],
	}
	for n := range 5 {
		state[fmt.Sprintf("history/%06d.json", n+2)] = files["history/000002.json"][1]
	}
	dir := t.TempDir()
	for name, content := range state {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	module := compile(t, ".")
	h := transformtest.Host(t)
	for _, to := range [][]host.Step{steps(module, 1, 2, 3), steps(module, 3, 2, 1)} {
		next := filepath.Join(t.TempDir(), "state")
		report, err := h.Run(t.Context(), to, dir, next, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", report)
		dir = next
	}
	for name, want := range state {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestTrapIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "total.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := transformtest.Host(t)
	step := host.Step{Module: compile(t, "./trap"), From: 2, To: 3}
	_, err := h.Run(t.Context(), []host.Step{step}, dir, filepath.Join(t.TempDir(), "state"), nil)
	if err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("got %v", err)
	}
}

// steps is a chain through these schemas, with the files as in the recipes.
func steps(module string, schemas ...int) (steps []host.Step) {
	for i, to := range schemas[1:] {
		step := host.Step{Module: module, From: schemas[i], To: to, Format: "json", Files: []string{"history/*.json"}}
		if step.From == 1 || step.To == 1 {
			step.Files = append(step.Files, "total.json", "calibration.json")
		}
		steps = append(steps, step)
	}
	return steps
}

func compile(t *testing.T, source string) string {
	t.Helper()
	module := filepath.Join(t.TempDir(), "module.wasm")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", module, source)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	return module
}
