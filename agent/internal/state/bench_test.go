package state

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
	"github.com/tranquil-iot/tranquil/sdk/updater"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv(unprivileged) != "" { // who cannot build a sandbox, and needs none
		os.Exit(m.Run())
	}
	transformtest.Main(m)
}

// BenchmarkDowntime measures the downtime of a component with much state, with
// the real application updater and a real process, from the order to stop until
// the new version is healthy. 0.1 % of the state has changed since the
// rehearsal, in a large file or in some small ones; each file is lines, and so
// is split. It is compared with stopping and starting alone (a), with an update
// without a rehearsal, which copies and transforms everything (b), and with
// 1 MB in as many files. The aims are
//
//	×1MB <= 1.5    ms-down <= 1.3 a + 100 ms (over-aim <= 1)    peak-MB flat
//
// TRANQUIL_BENCH_GB=1 adds a gigabyte, and (b) with many files, which takes
// minutes: each file is a run of the module.
func BenchmarkDowntime(b *testing.B) {
	sizes := []int{1 << 20, 100 << 20}
	if os.Getenv("TRANQUIL_BENCH_GB") != "" {
		sizes = append(sizes, 1<<30)
	}
	programs := buildPrograms(b)
	for _, files := range []int{10, 10_000} {
		var first time.Duration
		for _, size := range sizes {
			measured := sync.OnceValue(func() measurement { return measure(b, programs, size, files) })
			b.Run(fmt.Sprintf("%dMB/%dfiles", size>>20, files), func(b *testing.B) {
				m := measured()
				if first == 0 {
					first = m.down
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(m.down.Milliseconds()), "ms-down")
				b.ReportMetric(float64(m.restart.Milliseconds()), "ms-a")
				b.ReportMetric(float64(m.down)/float64(first), "×1MB")
				b.ReportMetric(float64(m.down)/(1.3*float64(m.restart)+float64(100*time.Millisecond)), "over-aim")
				if m.all > 0 {
					b.ReportMetric(float64(m.all.Milliseconds()), "ms-b")
					b.ReportMetric(float64(m.down)/float64(m.all), "×b")
				}
				b.ReportMetric(float64(m.peak)/(1<<20), "peak-MB")
			})
		}
	}
}

type measurement struct {
	down, restart, all time.Duration
	peak               int64 // resident memory of this process, bytes
}

const (
	oldName = "1.0.0"
	newName = "2.0.0"
)

// programs are what a device runs.
type programs struct {
	updater, sum, component string
	step                    host.Step
}

func buildPrograms(b *testing.B) programs {
	p := programs{updater: filepath.Join(b.TempDir(), "updater"), component: filepath.Join(b.TempDir(), "component"), step: lines(b)}
	p.step.Split = host.SplitLines
	for out, pkg := range map[string]string{p.updater: "../../../plugins/application", p.component: "./testdata/component"} {
		build := exec.Command("go", "build", "-o", out, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			b.Fatalf("cannot build %s: %v\n%s", pkg, err, text)
		}
	}
	var err error
	p.sum, err = updater.Checksum(p.updater)
	must(b, err)
	return p
}

func measure(b *testing.B, p programs, size, files int) (result measurement) {
	d := newTarget(b, p)
	fill(b, d.live(), size, files)
	d.started()
	for range 3 {
		begin := time.Now()
		d.stop()
		d.started()
		if took := time.Since(begin); result.restart == 0 || took < result.restart {
			result.restart = took
		}
	}
	h := &host.Host{Cache: filepath.Join(d.dir, "cache")}

	d.m = manager(b, filepath.Join(d.dir, "rehearsed"), h)
	snapshot, err := d.m.Fresh(component, 1)
	must(b, err)
	must(b, d.Snapshot(b.Context(), updater.SnapshotRequest{Component: component, Dir: snapshot}))
	_, err = d.m.Rehearse(b.Context(), component, 1, []host.Step{p.step}, nil, nil)
	must(b, err)
	must(b, h.Ready(b.Context(), []host.Step{p.step}))
	defer h.Close()
	change(b, d.live(), size/1000, files)
	must(b, d.m.Flush(b.Context(), component))
	forgetPeak()
	result.down = d.update(newName)
	result.peak = peak(b)
	for gen := range Generation(3) {
		must(b, d.m.Drop(component, gen+1))
	}

	if files <= 10 || os.Getenv("TRANQUIL_BENCH_GB") != "" {
		d.m = manager(b, filepath.Join(d.dir, "unprepared"), h)
		result.all = d.update(oldName)
	}
	d.stop()
	return result
}

// A target is a device: an updater process and a component.
type target struct {
	*testing.B
	*updater.Client
	m       *Manager
	dir     string
	handles map[string]updater.Handle
	step    host.Step
}

func newTarget(b *testing.B, p programs) *target {
	b.Helper()
	dir, err := os.MkdirTemp("", "s") // short, for sockets
	must(b, err)
	d := &target{B: b, dir: dir, handles: map[string]updater.Handle{}, step: p.step}
	d.Client, err = updater.Launch(b.Context(), updater.LaunchConfig{
		Path: p.updater, SHA256: p.sum, Data: filepath.Join(dir, "data"), Run: filepath.Join(dir, "run"),
		Link: filepath.Join(dir, "link"), Logger: slog.New(slog.DiscardHandler),
	})
	must(b, err)
	b.Cleanup(func() {
		_, _ = d.Stop(context.Background(), updater.StopRequest{Component: component})
		d.Kill()
		must(b, os.RemoveAll(dir))
	})
	for _, version := range []string{oldName, newName} {
		staged, err := d.Stage(b.Context(), updater.StageRequest{
			Component: component, Version: version, Artifact: artifact(b, p.component), MediaType: pack.MediaTypeArtifact,
			Settings: []byte(`{"command":["./component"],"health":{"file":"healthy"}}`),
		})
		must(b, err)
		d.handles[version] = staged.Handle
	}
	must(b, d.Switch(b.Context(), updater.SwitchRequest{Component: component, Handle: d.handles[oldName]}))
	d.started() // the live state is where the updater wants it
	d.stop()
	return d
}

func artifact(b *testing.B, program string) string {
	content, err := os.ReadFile(program)
	must(b, err)
	file, err := os.Create(filepath.Join(b.TempDir(), "artifact"))
	must(b, err)
	zipped := gzip.NewWriter(file)
	archive := tar.NewWriter(zipped)
	must(b, archive.WriteHeader(&tar.Header{Name: "component", Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}))
	_, err = archive.Write(content)
	must(b, errors.Join(err, archive.Close(), zipped.Close(), file.Close()))
	return file.Name()
}

// live is the directory of the component's state.
func (d *target) live() string { return filepath.Join(d.dir, "data", "sensor-adapter", "state") }

func (d *target) stop() {
	_, err := d.Stop(d.Context(), updater.StopRequest{Component: component})
	must(d, err)
}

// started returns when the component is healthy.
func (d *target) started() {
	must(d, d.Start(d.Context(), updater.StartRequest{Component: component}))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		answer, err := d.Probe(d.Context(), updater.ProbeRequest{Component: component})
		if err == nil && answer.Healthy {
			return
		}
		if time.Now().After(deadline) {
			d.Fatalf("not healthy: %v %v", answer, err)
		}
	}
}

// update is what happens from the order to stop until the new version is
// healthy, with generation 1 as the live snapshot, if there is one.
func (d *target) update(to string) time.Duration {
	begin := time.Now()
	cpu := cpuTime()
	lap := func(what string) {
		d.Logf("%12s %v (processor %v)", what, time.Since(begin).Round(time.Millisecond), (cpuTime() - cpu).Round(time.Millisecond))
	}
	d.stop()
	lap("stop")
	snapshot, err := d.m.Settle(component, 1)
	must(d, err)
	lap("settle")
	saved, err := d.m.Fresh(component, 2)
	must(d, err)
	must(d, d.Save(d.Context(), updater.SaveRequest{Component: component, Dir: saved, Snapshot: snapshot}))
	lap("save")
	must(d, d.m.Seal(d.Context(), component, 2, meta("1.0.0")))
	lap("seal")
	must(d, d.Switch(d.Context(), updater.SwitchRequest{Component: component, Handle: d.handles[to]}))
	lap("switch")
	report, err := d.m.Transform(d.Context(), component, 2, 3, []host.Step{d.step}, nil)
	must(d, err)
	d.Logf("transformed %d files, %d bytes in %v (processor %v), %d pieces kept", report.Transformed, report.In,
		report.Wall.Round(time.Millisecond), report.TotalCPU.Round(time.Millisecond), report.Kept)
	lap("transform")
	must(d, d.m.Seal(d.Context(), component, 3, meta("2.0.0")))
	lap("seal")
	made, _, err := d.m.Load(d.Context(), component, 3)
	must(d, err)
	lap("load")
	must(d, d.Apply(d.Context(), updater.ApplyRequest{Component: component, Dir: made}))
	lap("apply")
	d.started()
	took := time.Since(begin)
	lap("start")
	return took
}

// cpuTime is what this process has used. On a machine that does other things as
// well it says more than the time that passes.
func cpuTime() time.Duration {
	var used unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &used) // cannot fail
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// forgetPeak has the peak of memory begin anew.
func forgetPeak() {
	runtime.GC()
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// peak is the most memory that was resident since forgetPeak, in bytes.
func peak(b *testing.B) (bytes int64) {
	text, err := os.ReadFile("/proc/self/status")
	must(b, err)
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	return 0
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

// readings are lines of about so many bytes together, of which no two are the
// same.
func readings(size int) []byte { return readingsFrom(0, size) }

func readingsFrom(i, size int) []byte {
	b := make([]byte, 0, size+100)
	for ; len(b) < size; i++ {
		b = fmt.Appendf(b, `{"object":3303,"instance":0,"value":21.5,"unit":"Cel","number":%d}`+"\n", i)
	}
	return b
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
		_, err = f.Write(readingsFrom(1e9, size/n))
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
		if err := os.Link(name, filepath.Join(to, rel)); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkStill is the agent's part of an update between stop and start if of
// 10,000 files a thousandth has changed. The machine may do other things as
// well: ms-cpu counts what this process does. TRANQUIL_BENCH_GB=1 adds a
// gigabyte in as many files.
func BenchmarkStill(b *testing.B) {
	sizes := []int{1 << 20}
	if os.Getenv("TRANQUIL_BENCH_GB") != "" {
		sizes = append(sizes, 1<<30)
	}
	for _, size := range sizes {
		b.Run(fmt.Sprintf("%dMB", size>>20), func(b *testing.B) {
			var used time.Duration
			for b.Loop() {
				b.StopTimer()
				still := &bench{TB: b, writer: &writer{}, live: filepath.Join(b.TempDir(), "live")}
				still.Manager = manager(b, filepath.Join(b.TempDir(), "state"), still.writer)
				fill(b, still.live, size, 10_000)
				still.rehearse(up)
				change(b, still.live, size/1000, 10_000)
				must(b, still.Flush(b.Context(), component))
				b.StartTimer()
				begin := cpuTime()
				pprof.Do(b.Context(), pprof.Labels("while", "stopped"), func(context.Context) { still.stopped(b) })
				used += cpuTime() - begin
			}
			b.ReportMetric(float64(used.Microseconds())/1000/float64(b.N), "ms-cpu/op")
		})
	}
}

// stopped is what the agent does while the component is stopped, and for the
// updater what it does if only contents have changed.
func (b *bench) stopped(t testing.TB) {
	begin, cpu := time.Now(), cpuTime()
	lap := func(what string) {
		t.Logf("%12s %v (processor %v)", what, time.Since(begin).Round(time.Millisecond), (cpuTime() - cpu).Round(time.Millisecond))
	}
	snapshot, err := b.Settle(component, 1)
	must(t, err)
	lap("settle")
	saved, err := b.Fresh(component, 2)
	must(t, err)
	must(t, errors.Join(os.Remove(saved), os.Rename(snapshot, saved)))
	lap("save")
	must(t, b.Seal(b.Context(), component, 2, meta("1.0.0")))
	lap("seal")
	_, err = b.Transform(t.Context(), component, 2, 3, up, nil)
	must(t, err)
	lap("transform")
	must(t, b.Seal(b.Context(), component, 3, meta("2.0.0")))
	lap("seal")
	_, _, err = b.Load(b.Context(), component, 3)
	must(t, err)
	lap("load")
}

// BenchmarkScan is the look at 10,000 files that did not change, of which an
// update takes some while its component is stopped.
func BenchmarkScan(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "state")
	fill(b, dir, 1<<20, 10_000)
	k := newBook()
	_, err := k.scan(b.Context(), dir)
	must(b, err)
	for _, r := range k.records {
		r.Early = false
	}
	b.ReportAllocs()
	for b.Loop() {
		_, err := k.scan(b.Context(), dir)
		must(b, err)
	}
}

// BenchmarkMemo compares a transformation that the rehearsal has done already,
// since nothing has changed, with one that nobody has rehearsed: 16 MB in 16
// files, by an ordinary program in the sandbox.
func BenchmarkMemo(b *testing.B) {
	steps, h := []host.Step{lines(b)}, transformtest.Host(b)
	once := func(rehearsed bool) time.Duration {
		memo := &bench{TB: b, writer: &writer{}, live: filepath.Join(b.TempDir(), "live")}
		memo.Manager = manager(b, filepath.Join(b.TempDir(), "state"), h)
		fill(b, memo.live, 16<<20, 16)
		if rehearsed {
			memo.rehearse(steps)
		}
		_, err := memo.Settle(component, 1)
		must(b, err)
		dir, err := memo.Fresh(component, 2)
		must(b, err)
		link(b, memo.live, dir)
		must(b, memo.Seal(b.Context(), component, 2, meta("1.0.0")))
		must(b, h.Ready(b.Context(), steps))
		begin := time.Now()
		_, err = memo.Transform(b.Context(), component, 2, 3, steps, nil)
		must(b, err)
		return time.Since(begin)
	}
	hit, miss := time.Hour, time.Hour
	for b.Loop() {
		hit, miss = min(hit, once(true)), min(miss, once(false))
	}
	h.Close()
	b.ReportMetric(100*hit.Seconds()/miss.Seconds(), "%hit")
	b.ReportMetric(float64(hit.Microseconds())/1000, "ms-hit")
	b.ReportMetric(float64(miss.Microseconds())/1000, "ms-miss")
}
