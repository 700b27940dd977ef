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

// natives build the same programs for this machine, where their languages do.
var natives = map[string][]string{
	"go":   {"go", "build", "-o"},
	"c":    {"gcc", "-O2", "-o"},
	"rust": {"rustc", "-O", "--edition", "2021", "-o"},
}

// BenchmarkLanguages transforms a history of 4 MB in the sandbox and tells, for
// each language, how many times longer it takes than the same program run
// natively, and than the one in Go.
func BenchmarkLanguages(b *testing.B) {
	state := history(50_000)
	native := map[string]time.Duration{}
	for name, source := range map[string]string{"go": "./go", "c": "c/main.c", "rust": "rust/main.rs"} {
		native[name] = runNative(b, append(natives[name], filepath.Join(b.TempDir(), name), source), state["history/0001.json"])
	}
	for _, l := range languages {
		b.Run(l.name, func(b *testing.B) {
			module := buildLanguage(b, l.name, l.needs, l.install)
			h := &host.Host{Cache: filepath.Join(bin, "cache", "bench")}
			edge := transformtest.Edge{Step: host.Step{Module: module, From: 1, To: 2, Format: "json"}}
			best := transformtest.Rate{}
			for b.Loop() {
				rate, err := transformtest.Bench(b.Context(), h, edge, state, 0, nil)
				if err != nil {
					b.Fatal(err)
				}
				if best.Input == 0 || rate.PerSecond() > best.PerSecond() {
					best = rate
				}
			}
			h.Interpret = true
			slow, err := transformtest.Bench(b.Context(), h, edge, history(2_000), 0, nil)
			if err != nil {
				b.Fatal(err)
			}
			took := float64(best.Input) / best.PerSecond()
			b.ReportMetric(took/native["go"].Seconds(), "×native-Go")
			if own := native[l.name]; own > 0 {
				b.ReportMetric(took/own.Seconds(), "×native")
			}
			b.ReportMetric(best.PerSecond()/1e6, "MB/s")
			b.ReportMetric(best.PerSecond()/slow.PerSecond(), "×interpreted")
			b.ReportMetric(float64(best.Memory)/1e6, "MB-memory")
		})
	}
}

// runNative builds a program, the last but one word of the command, runs it some
// times and returns the least CPU time; 0 if there is no such compiler.
func runNative(b *testing.B, build []string, input string) time.Duration {
	if _, err := exec.LookPath(build[0]); err != nil {
		b.Logf("NOT MEASURED: there is no %s", build[0])
		return 0
	}
	if out, err := exec.Command(build[0], build[1:]...).CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", build, err, out)
	}
	best := time.Hour
	for range 3 {
		best = min(best, timed(b, build[len(build)-2], input))
	}
	return best
}

// timed runs a program once and returns its CPU time.
func timed(b *testing.B, program, input string) time.Duration {
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
