package native

import (
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

// BenchmarkJQ runs a jq program on 1 MB of NDJSON in the sandbox, as Wasm and
// as native code, and gives the ratio of the whole runs, starts included.
func BenchmarkJQ(b *testing.B) {
	line := `{"at":"2026-11-29T08:00:00Z","value":20.5,"sensor":{"name":"hall","floor":1}}` + "\n"
	state := transformtest.State{"a": strings.Repeat(line, 1<<20/len(line))}
	compare(b, a("jq", "ndjson", "program", `{at, celsius: .value, place: .sensor.name}`, state))
}

// BenchmarkSQLite is the same for a database of 1.4 MB, of which it makes
// another three.
func BenchmarkSQLite(b *testing.B) {
	compare(b, a("sqlite", "sqlite", "sql", sizable, transformtest.State{"a": database(b)}))
}

func compare(b *testing.B, t trial) {
	wasm, native := hosts(b)
	once := func(h *host.Host) time.Duration {
		_, report, failure := t.run(b, h)
		if failure != "" {
			b.Fatal(failure)
		}
		return report.Wall
	}
	once(wasm) // compiles the module
	w, n := time.Hour, time.Hour
	for b.Loop() {
		w, n = min(w, once(wasm)), min(n, once(native))
	}
	b.ReportMetric(float64(w)/float64(n), "Wasm/native")
	b.ReportMetric(w.Seconds(), "s-Wasm")
	b.ReportMetric(n.Seconds(), "s-native")
}
