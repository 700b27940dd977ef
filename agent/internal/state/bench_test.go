package state

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

func TestMain(m *testing.M) {
	host.Main() // a copy of this program may be the sandbox of a transform
	os.Exit(m.Run())
}

// BenchmarkDowntime measures what the state manager contributes to the
// downtime of an update (settle, save, seal, transform, seal, load, hand over)
// when 0.1 % of the state has changed since the rehearsal, in a large file or
// in some small ones; against the same without a rehearsal, which copies and
// transforms everything. TRANQUIL_BENCH_GB=1 adds a gigabyte, which takes
// minutes, most of them without a rehearsal.
func BenchmarkDowntime(b *testing.B) {
	sizes := []int{1 << 20, 100 << 20}
	if os.Getenv("TRANQUIL_BENCH_GB") != "" {
		sizes = append(sizes, 1<<30)
	}
	for _, files := range []int{10, 10_000} {
		var first time.Duration
		for _, size := range sizes {
			measured := sync.OnceValue(func() measurement { return measure(b, size, files) })
			b.Run(fmt.Sprintf("%dMB/%dfiles", size>>20, files), func(b *testing.B) {
				m := measured()
				if first == 0 {
					first = m.down
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(m.down.Milliseconds()), "ms-down")
				b.ReportMetric(float64(m.predicted.Milliseconds()), "ms-predicted")
				b.ReportMetric(float64(m.all.Milliseconds()), "ms-everything")
				b.ReportMetric(float64(m.down)/float64(first), "×1MB")
				b.ReportMetric(float64(m.down)/float64(m.all), "×everything")
			})
		}
	}
}

type measurement struct{ down, predicted, all time.Duration }

func measure(b *testing.B, size, files int) (result measurement) {
	dir := b.TempDir()
	defer os.RemoveAll(dir) // before the next one needs the space
	live := filepath.Join(dir, "live")
	fill(b, live, size, files)
	step := lines(b)
	h := &host.Host{Cache: filepath.Join(dir, "cache")}

	m := manager(b, filepath.Join(dir, "rehearsed"), h)
	snapshot, err := m.Fresh(component, 1)
	must(b, err)
	link(b, live, snapshot)
	result.predicted, err = m.Rehearse(b.Context(), component, 1, []host.Step{step}, nil)
	must(b, err)
	change(b, live, size/1000, files)
	result.down = away(b, m, live, step)
	must(b, m.Drop(component, 1))
	must(b, m.Drop(component, 2))

	m = manager(b, filepath.Join(dir, "unprepared"), h)
	result.all = away(b, m, live, step)
	return result
}

// away is what happens between stop and start.
func away(b *testing.B, m *Manager, live string, step host.Step) time.Duration {
	begin := time.Now()
	lap := func(what string) { b.Logf("%12s %v", what, time.Since(begin).Round(time.Millisecond)) }
	must(b, m.Settle(component, 1))
	lap("settle")
	saved, err := m.Fresh(component, 2)
	must(b, err)
	link(b, live, saved)
	lap("save")
	must(b, m.Seal(component, 2, meta("1.0.0")))
	lap("seal")
	_, err = m.Transform(b.Context(), component, 2, 3, []host.Step{step}, nil)
	must(b, err)
	lap("transform")
	must(b, m.Seal(component, 3, meta("2.0.0")))
	lap("seal")
	made, _, err := m.Load(component, 3)
	must(b, err)
	must(b, os.Rename(made, live+".new"))
	took := time.Since(begin)
	lap("hand over")
	must(b, os.RemoveAll(live+".new"))
	return took
}

// lines builds the transform.
func lines(t testing.TB) host.Step {
	t.Helper()
	module := filepath.Join(t.TempDir(), "lines.wasm")
	build := exec.Command("go", "build", "-o", module, "./testdata/lines")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the transform: %v\n%s", err, out)
	}
	data, err := os.ReadFile(module)
	must(t, err)
	return host.Step{Module: module, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(data)), From: 1, To: 2}
}

func manager(t testing.TB, root string, tr Transformer) *Manager {
	t.Helper()
	m, err := Open(root, tr)
	must(t, err)
	return m
}

// fill makes a state that was written long ago.
func fill(t testing.TB, dir string, size, files int) {
	t.Helper()
	content := readings(size / files)
	for i := range files {
		name := filepath.Join(dir, fmt.Sprint(i%100), fmt.Sprint(i))
		must(t, os.MkdirAll(filepath.Dir(name), 0o700))
		must(t, os.WriteFile(name, content, 0o600))
		age(t, name)
	}
}

// readings are lines of about so many bytes together.
func readings(size int) []byte {
	line := []byte(`{"object":3303,"instance":0,"value":21.5,"unit":"Cel","time":"2026-11-22T08:00:00Z"}` + "\n")
	return bytes.Repeat(line, size/len(line)+1)
}

func age(t testing.TB, name string) {
	t.Helper()
	long := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(name, long, long))
}

// change appends to the first file, or to as many as make a thousandth.
func change(t testing.TB, dir string, size, files int) {
	t.Helper()
	n := max(files/1000, 1)
	for i := range n {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(i%100), fmt.Sprint(i)), os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = f.Write(readings(size / n))
		must(t, err)
		must(t, f.Close())
	}
}

// link is what an updater does to save.
func link(t testing.TB, from, to string) {
	t.Helper()
	must(t, filepath.WalkDir(from, func(name string, entry os.DirEntry, err error) error {
		rel, _ := filepath.Rel(from, name)
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		return os.Link(name, filepath.Join(to, rel))
	}))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
