package fleet

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/netns"
	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/internal/uml"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

var built rig.Built

// TestMain compiles everything once. Systems mostly wait, so that a few run
// side by side also on a small machine.
func TestMain(m *testing.M) {
	uml.Init()
	netns.Init()
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) { // the default
		flag.Set("test.parallel", "3")
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tranquil-fleet-")
	if err == nil {
		defer os.RemoveAll(dir)
		built, err = build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build compiles everything or, inside of user-mode Linux or another network, takes
// what was made outside.
func build(ctx context.Context, dir string) (rig.Built, error) {
	switch {
	case uml.Inside():
		return fromOutside(dir)
	case netns.Inside():
		return rig.Built{Dir: os.Getenv(outside), Root: os.Getenv(rootOutside), Arch: runtime.GOARCH}, nil
	}
	return rig.Build(ctx, dir)
}

// start starts a system with the given versions on its file server, the first
// of which is installed.
func start(t *testing.T, versions ...string) *rig.System {
	t.Helper()
	return startWith(t, nil, versions...)
}

// startWith is start with changes to the agent's configuration.
func startWith(t *testing.T, agent []rig.Edit, versions ...string) *rig.System {
	t.Helper()
	return launch(t, t.TempDir(), agent, versions...)
}

// launch is startWith in a directory that has been prepared.
func launch(t *testing.T, dir string, agent []rig.Edit, versions ...string) *rig.System {
	t.Helper()
	system, err := rig.Start(t.Context(), built, dir, agent...)
	attend(t, system, err)
	put(t, system, versions...)
	update(t, system, versions[0])
	return system
}

// attend closes a system that was started when the test has ended.
func attend(t *testing.T, system *rig.System, err error) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, system.Dir)
		}
		system.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// packages are built once, by version.
var packages sync.Map

// put puts versions of the sensor adapter onto the file server, with less
// patience than the recipes have.
func put(t testing.TB, s *rig.System, versions ...string) {
	t.Helper()
	for _, version := range versions {
		build, _ := packages.LoadOrStore(version, sync.OnceValues(func() (string, error) {
			return built.Package(context.Background(), built.Dir, version, quick...)
		}))
		file, err := build.(func() (string, error))()
		if err == nil {
			err = s.Push(t.Context(), file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// quick shortens the probation, and the wait for a version that is never
// healthy.
var quick = []rig.Edit{rig.Replace(`probation = "1s"`, `probation = "200ms"`), rig.Replace(`deadline = "3s"`, `deadline = "1s"`)}

// update installs a version, which must succeed, and checks the state.
func update(t testing.TB, s *rig.System, version string) {
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

// truly returns where a state lies in truth, if it is on a faulty disk.
func truly(dir string) string {
	if _, err := os.Stat(realPath(dir)); err == nil {
		return realPath(dir)
	}
	return dir
}

// check verifies the state of the one process of the component that runs.
func check(t testing.TB, s *rig.System) (rig.Running, audit.Report) {
	t.Helper()
	running := s.Components(rig.SensorAdapter)
	if len(running) != 1 {
		t.Fatalf("%d processes of the component: %+v", len(running), running)
	}
	report, err := audit.Dir(truly(running[0].State))
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
