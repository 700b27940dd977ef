package fleet

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

var built rig.Built

// TestMain compiles everything once.
func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tranquil-fleet-")
	if err == nil {
		defer os.RemoveAll(dir)
		built, err = rig.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// start starts a system with the given versions on its file server, the first
// of which is installed.
func start(t *testing.T, versions ...string) *rig.System {
	t.Helper()
	system, err := rig.Start(t.Context(), built, t.TempDir())
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, system.Dir)
		}
		system.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := system.Publish(t.Context(), versions...); err != nil {
		t.Fatal(err)
	}
	update(t, system, versions[0])
	return system
}

// update installs a version, which must succeed, and checks the state.
func update(t *testing.T, s *rig.System, version string) {
	t.Helper()
	c, err := s.Update(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	if c.Version != version || c.Update.Result != "updated" {
		t.Fatalf("wished for %s, but %s is installed: %s, %s", version, c.Version, c.Update.Result, c.Update.Cause)
	}
	check(t, s)
}

// check verifies the state of the one process of the component that runs.
func check(t *testing.T, s *rig.System) (rig.Running, audit.Report) {
	t.Helper()
	running := s.Components(rig.SensorAdapter)
	if len(running) != 1 {
		t.Fatalf("%d processes of the component: %+v", len(running), running)
	}
	report, err := audit.Dir(running[0].State)
	if err != nil {
		t.Fatal(err)
	}
	return running[0], report
}

func showLogs(t *testing.T, dir string) {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, path := range paths {
		t.Logf("%s:\n%s", path, rig.Tail(path, 40))
	}
}
