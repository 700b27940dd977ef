package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Built is where the compiled programs are.
type Built struct {
	Dir  string // programs, and the transforms as .wasm
	Root string // of the sources
	Arch string // GOARCH of what runs on the device
}

// Program returns the path of a compiled program.
func (b Built) Program(name string) string { return filepath.Join(b.Dir, name) }

// program is one thing to compile.
type program struct{ name, source string }

var native = []program{
	{"tranquil-backend", "./backend"},
	{"tranquil-agent", "./agent"},
	{"tranquil-updater-application", "./plugins/application"},
	{"tranquil-updater-container", "./plugins/container"},
	{"tranquil", "./sdk/cmd/tranquil"},
	{"dashboard", "./examples/dashboard"},
	{"reader", "./examples/reader"},
	{"mica-base", "./examples/mica-base"},
	{"misbehaving", "./sdk/updater/updatertest/misbehaving"},
	{"sensor-adapter-1", "./examples/sensor-adapter/v1"},
	{"sensor-adapter-2", "./examples/sensor-adapter/v2"},
}

var wasm = []program{
	{"transform.wasm", "./examples/sensor-adapter/transform"},
	{"trap.wasm", "./examples/sensor-adapter/transform/trap"},
}

// Build compiles all programs and transforms from source into dir.
func Build(ctx context.Context, dir string) (Built, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return Built{}, fmt.Errorf("cannot find the sources: %w; run this inside of the repository", err)
	}
	b := Built{Dir: dir, Root: strings.TrimSpace(string(root)), Arch: runtime.GOARCH}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Built{}, err
	}
	var wait sync.WaitGroup
	var forNative, forWasm error
	wait.Go(func() { forNative = b.compile(ctx, native, "CGO_ENABLED=0") })
	wait.Go(func() { forWasm = b.compile(ctx, wasm, "GOOS=wasip1", "GOARCH=wasm") })
	wait.Wait()
	return b, errors.Join(forNative, forWasm)
}

// onDevice are the programs that run on a device.
var onDevice = []program{
	{"tranquil-agent", "./agent"},
	{"tranquil-updater-application", "./plugins/application"},
	{"sensor-adapter-1", "./examples/sensor-adapter/v1"},
	{"sensor-adapter-2", "./examples/sensor-adapter/v2"},
}

// For compiles what runs on the device for another architecture, into dir,
// where it is joined by all else.
func (b Built) For(ctx context.Context, dir, arch string) (Built, error) {
	other := Built{Dir: dir, Root: b.Root, Arch: arch}
	for _, p := range slices.Concat(wasm, native) {
		if slices.ContainsFunc(onDevice, func(d program) bool { return d.name == p.name }) {
			continue
		}
		if err := link(b.Program(p.name), other.Program(p.name)); err != nil {
			return other, err
		}
	}
	return other, other.compile(ctx, onDevice, "CGO_ENABLED=0", "GOARCH="+arch)
}

// compile has all programs compiled and linked at once, which shares the work
// on what they import, and gives them their own names.
func (b Built) compile(ctx context.Context, programs []program, env ...string) error {
	into, err := os.MkdirTemp(b.Dir, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(into)
	args := []string{"-o", into + "/"}
	for _, p := range programs {
		args = append(args, p.source)
	}
	if err := b.goBuild(ctx, env, args...); err != nil {
		return err
	}
	for _, p := range programs {
		if err := os.Rename(filepath.Join(into, executable(p.source)), b.Program(p.name)); err != nil {
			return err
		}
	}
	return nil
}

// executable is how go build names a program: by the last element of its
// path that is no major version.
func executable(source string) string {
	if dir, base := path.Split(source); base != "v2" {
		return base
	} else {
		return path.Base(dir)
	}
}

func (b Built) goBuild(ctx context.Context, env []string, args ...string) error {
	build := exec.CommandContext(ctx, "go", append([]string{"build", "-ldflags=-s -w"}, args...)...)
	build.Dir = b.Root
	build.Env = append(os.Environ(), env...)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
