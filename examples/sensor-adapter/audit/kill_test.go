package audit_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

// TestKilledAtAnyMoment kills each version again and again while it writes
// as fast as it can, from its first start on: the sequence never breaks and
// never loses what was there before.
func TestKilledAtAnyMoment(t *testing.T) {
	bin := t.TempDir()
	for _, program := range []string{"v1", "v2"} {
		build := exec.Command("go", "build", "-o", filepath.Join(bin, program), "../"+program)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("cannot build: %v\n%s", err, out)
		}
	}
	for _, c := range []struct {
		name    string
		command []string
		schema  int
	}{
		{"version 1", []string{"v1"}, 1},
		{"version 2", []string{"v2"}, 2},
		{"version 2 with checksums", []string{"v2", "-checksums"}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			var before audit.Report
			// The window grows, so that a slow machine as well gets beyond the
			// first start, with its 700 readings.
			for round := range 300 {
				if round >= 12 && before.Count() > 700 {
					break
				}
				runAndKill(t, state, bin, c.command, time.Duration(round+1)*5*time.Millisecond)
				after, err := audit.Dir(state)
				if err != nil {
					t.Fatal(err)
				}
				if after.Schema != c.schema || after.Digest(before.Count()) != before.Digest(before.Count()) {
					t.Fatalf("from %v to %v: something was forgotten", before.Count(), after)
				}
				before = after
			}
			if before.Count() <= 700 {
				t.Errorf("only %d readings: the adapters were killed before they went on", before.Count())
			}
		})
	}
}

// runAndKill lets the adapter run for a random time after it wrote something.
func runAndKill(t *testing.T, state, bin string, command []string, window time.Duration) {
	t.Helper()
	args := append(command[1:], "-interval", "1ms", "-seed", "700")
	adapter := exec.Command(filepath.Join(bin, command[0]), args...)
	adapter.Env = append(os.Environ(), "TRANQUIL_STATE="+state)
	adapter.Stderr = os.Stderr
	if err := adapter.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(filepath.Join(state, "history", "000001.json")); err == nil {
			break
		}
	}
	time.Sleep(rand.N(window)) // the moment is random on purpose
	adapter.Process.Kill()
	adapter.Wait()
}
