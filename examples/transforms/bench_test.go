package transforms_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

// BenchmarkLanguages transforms a history of 4 MB in the sandbox and tells, for
// each language, how many times longer it takes than the same Go program run
// natively.
func BenchmarkLanguages(b *testing.B) {
	state := history(50_000)
	program := filepath.Join(b.TempDir(), "native")
	if out, err := exec.Command("go", "build", "-o", program, "./go").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	native := time.Duration(1 << 62)
	for range 3 {
		native = min(native, runNative(b, program, state["history/0001.json"]))
	}
	for _, l := range languages {
		b.Run(l.name, func(b *testing.B) {
			module := buildLanguage(b, l.name, l.needs, l.install)
			h := &host.Host{Cache: filepath.Join(bin, "cache", "bench")}
			edge := transformtest.Edge{Step: host.Step{Module: module, From: 1, To: 2, Format: "json"}}
			best := transformtest.Rate{}
			for b.Loop() {
				rate, _, err := transformtest.Bench(b.Context(), h, edge, state, 0)
				if err != nil {
					b.Fatal(err)
				}
				if best.Input == 0 || rate.PerSecond() > best.PerSecond() {
					best = rate
				}
			}
			h.Interpret = true
			slow, _, err := transformtest.Bench(b.Context(), h, edge, history(2_000), 0)
			if err != nil {
				b.Fatal(err)
			}
			perNative := float64(best.Input) / native.Seconds()
			b.ReportMetric(perNative/best.PerSecond(), "times-native-Go")
			b.ReportMetric(best.PerSecond()/1e6, "MB/s")
			b.ReportMetric(best.PerSecond()/slow.PerSecond(), "times-faster-than-interpreted")
			b.ReportMetric(float64(best.Memory)/1e6, "MB-memory")
		})
	}
}

// runNative runs the program once and returns its CPU time.
func runNative(b *testing.B, program, input string) time.Duration {
	file := filepath.Join(b.TempDir(), "in")
	if err := os.WriteFile(file, []byte(input), 0o600); err != nil {
		b.Fatal(err)
	}
	in, err := os.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	cmd := exec.Command(program, "1", "2", "history/0001.json")
	cmd.Stdin = in
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}
