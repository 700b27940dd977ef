package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// narrow is the address space of a 32-bit device, in KiB.
const narrow = 2000000

// TestNarrow updates there and back on a 32-bit device: agent, sandbox,
// updater, supervisor and component are built for 386, and have an address
// space of 2 GB, which an emulator of a 32-bit processor would not limit.
func TestNarrow(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" || testing.Short() {
		t.Skip("NOT TESTED: a device of 32 bits, since this is no amd64 machine, or -short is set")
	}
	device, err := built.For(t.Context(), t.TempDir(), "386")
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command(device.Program("tranquil-agent"), "--help").Run(); err != nil && !ran(err) {
		t.Skipf("NOT TESTED: this machine cannot run 386 programs: %v", err)
	}
	confine(t, device.Program("tranquil-agent"))
	s, err := rig.Start(t.Context(), device, t.TempDir())
	attend(t, s, err)
	for _, version := range []string{"1.0.0", "2.0.0"} {
		file, err := s.Package(t.Context(), version, quick...)
		if err == nil {
			err = s.Push(t.Context(), file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	update(t, s, "1.0.0")
	_, state := whole(t, s)
	update(t, s, "2.0.0")
	sound(t, s, "2.0.0", state)
	update(t, s, "1.0.0")
	sound(t, s, "1.0.0", state)
}

// ran tells a program that has failed from one that could not be run.
func ran(err error) bool {
	_, failed := err.(*exec.ExitError)
	return failed
}

// confine puts a script in the place of a program, which runs it with little
// address space; so does all that it starts.
func confine(t *testing.T, program string) {
	t.Helper()
	if err := os.Rename(program, program+"-386"); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nulimit -v %d\nexec %s-386 \"$@\"\n", narrow, program)
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}
