package store

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// narrow is the address space of a 32-bit device, in KiB: on one with 2 GB of
// it badger's default options fail at the first open, with 3 GB at the second.
const narrow = "2000000"

// TestNarrow runs the tests of this package as a 32-bit program with little
// address space: badger maps its files into it. An emulator of a 32-bit
// processor has more, and hides that.
func TestNarrow(t *testing.T) {
	if runtime.GOARCH != "amd64" || testing.Short() {
		t.Skip("NOT TESTED: a device of 32 bits, since this is no amd64 machine, or -short is set")
	}
	program := filepath.Join(t.TempDir(), "store.test")
	build := exec.Command("go", "test", "-c", "-o", program, ".")
	build.Env = append(os.Environ(), "GOARCH=386", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build for 386: %v\n%s", err, out)
	}
	if out, err := exec.Command(program, "-test.run=^$").CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: this machine cannot run 386 programs: %v\n%s", err, out)
	}
	script := `ulimit -v ` + narrow + ` && exec "$0" "$@"`
	tests := "TestJournalSurvives|TestInstalledAndWishes|TestAllLost|TestDefaultsFail"
	run := exec.Command("sh", "-c", script, program, "-test.run="+tests, "-test.v")
	run.Env = append(os.Environ(), "TRANQUIL_NARROW=1")
	if out, err := run.CombinedOutput(); err != nil {
		t.Errorf("in %s KiB of address space: %v\n%s", narrow, err, out)
	}
}

// TestDefaultsFail proves that the narrow space is narrow enough to tell.
func TestDefaultsFail(t *testing.T) {
	if os.Getenv("TRANQUIL_NARROW") == "" {
		t.Skip("only where TestNarrow runs it")
	}
	if err := openDefaults(t.TempDir()); err == nil {
		t.Error("badger opens with its default options: the address space is not narrow")
	}
}
