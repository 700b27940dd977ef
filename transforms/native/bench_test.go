package native

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

// BenchmarkJQ runs a jq program on 1 MB of NDJSON in the sandbox, as Wasm and
// as native code, and gives the ratio of the whole runs, starts included.
func BenchmarkJQ(b *testing.B) {
	dir, plain, knowing, _ := build(b)
	state := filepath.Join(b.TempDir(), "state")
	line := `{"at":"2026-11-29T08:00:00Z","value":20.5,"sensor":{"name":"hall","floor":1}}` + "\n"
	if err := (transformtest.State{"a": strings.Repeat(line, 1<<20/len(line))}).Write(state); err != nil {
		b.Fatal(err)
	}
	once := func(program string) time.Duration {
		out := filepath.Join(b.TempDir(), "out")
		begin := time.Now()
		cmd := exec.Command(program, "transform", "run", filepath.Join(dir, "jq.wasm"), state, out, "-q", "--native",
			"--format", "ndjson", "-p", `program={at, celsius: .value, place: .sensor.name}`)
		if text, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, text)
		}
		return time.Since(begin)
	}
	once(plain) // compiles the module
	wasm, native := time.Hour, time.Hour
	for b.Loop() {
		wasm, native = min(wasm, once(plain)), min(native, once(knowing))
	}
	b.ReportMetric(float64(wasm)/float64(native), "Wasm/native")
	b.ReportMetric(1/wasm.Seconds(), "MB/s-Wasm")
	b.ReportMetric(1/native.Seconds(), "MB/s-native")
}
