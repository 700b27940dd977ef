package fleet

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// BenchmarkDowntime measures for how long the users of a component are without
// it while it is updated by the real agent and updater, from the last sign of
// the old version to the first of the new one. Of its state a thousandth has
// changed since the rehearsal. In the same run, as references:
//
//	(a) an update of a version without state: stop, switch, start
//	(b) an update that has no rehearsal to go by: it transforms everything
//
// The aims are ×1MB <= 1.5, over-aim (of 1.3 a + 100 ms) <= 1, and memory of
// the agent that does not grow with the size of the state. At the end it says in
// words which are met. Other load makes all times longer, and not in proportion:
// what is missed under load may be met without.
//
// TRANQUIL_BENCH_GB=1 adds a gigabyte, and 10,000 files; (b) is left out
// there, since it takes many minutes.
func BenchmarkDowntime(b *testing.B) {
	type shape struct{ size, files int }
	shapes := []shape{{1 << 20, 10}, {100 << 20, 10}, {1 << 20, 1000}}
	if os.Getenv("TRANQUIL_BENCH_GB") != "" {
		shapes = []shape{{1 << 20, 10}, {100 << 20, 10}, {1 << 30, 10}, {1 << 20, 10_000}, {100 << 20, 10_000}, {1 << 30, 10_000}}
	}
	first := map[int]away{} // by number of files
	var verdicts []string
	b.Cleanup(func() { fmt.Println(strings.Join(verdicts, "\n")) })
	for _, s := range shapes {
		measured := sync.OnceValue(func() away { return newLarge(b).measure(s.size, s.files) })
		b.Run(fmt.Sprintf("%dMB/%dfiles", s.size>>20, s.files), func(b *testing.B) {
			m := measured()
			if _, ok := first[s.files]; !ok {
				first[s.files] = m
			}
			m.report(b, first[s.files])
			verdicts = append(verdicts, fmt.Sprintf("%7s in %5d files: %s", fmt.Sprintf("%d MB", s.size>>20), s.files, m.verdict(first[s.files])))
		})
	}
}

// An away is one measurement.
type away struct {
	gap, a, b, said time.Duration
	peak            int64  // resident memory of the agent while it was updated, bytes
	load            string // of the machine, by the minute
}

// flat is by how much the peak of memory may differ, in bytes.
const flat = 64 << 20

// verdict tells in words how the aims are met.
func (m away) verdict(first away) string {
	word := map[bool]string{true: "met", false: "MISSED"}
	ratio, aim := float64(m.gap)/float64(first.gap), m.a*13/10+100*time.Millisecond
	return fmt.Sprintf("away %d ms; %.2f times 1 MB, aim 1.5: %s; 1.3 a + 100 ms = %d ms: %s; peak %d MB, flat: %s (load %s)",
		m.gap.Milliseconds(), ratio, word[ratio <= 1.5], aim.Milliseconds(), word[m.gap <= aim], m.peak>>20, word[m.peak <= first.peak+flat], m.load)
}

func (m away) report(b *testing.B, first away) {
	ms := func(d time.Duration) float64 { return float64(d.Milliseconds()) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(m.gap), "ms-away")
	b.ReportMetric(ms(m.said), "ms-reported")
	b.ReportMetric(ms(m.a), "ms-a")
	b.ReportMetric(float64(m.gap)/float64(m.a), "×a")
	b.ReportMetric(float64(m.gap)/float64(first.gap), "×1MB")
	b.ReportMetric(ms(m.gap)/(1.3*ms(m.a)+100), "over-aim")
	if m.b > 0 {
		b.ReportMetric(ms(m.b), "ms-b")
		b.ReportMetric(float64(m.gap)/float64(m.b), "×b")
	}
	b.ReportMetric(float64(m.peak)/(1<<20), "peak-MB")
	if m.peak > first.peak+flat {
		b.Errorf("memory is not flat: %d MB, and %d MB with 1 MB of state", m.peak>>20, first.peak>>20)
	}
}

// A large is a device whose component has much state, and a user of it.
type large struct {
	*testing.B
	*rig.System
	module string
	users  net.PacketConn

	mu    sync.Mutex
	first map[string]time.Time // sign of a version
	last  map[string]time.Time
}

func newLarge(b *testing.B) *large {
	l := &large{B: b, first: map[string]time.Time{}, last: map[string]time.Time{}}
	dir := b.TempDir()
	l.module = filepath.Join(dir, "lines.wasm")
	for out, env := range map[string]string{l.module: "GOOS=wasip1 GOARCH=wasm", filepath.Join(dir, "beat"): "CGO_ENABLED=0"} {
		source := "./testdata/" + strings.TrimSuffix(filepath.Base(out), ".wasm")
		build := exec.CommandContext(b.Context(), "go", "build", "-buildvcs=false", "-o", out, source)
		build.Env = append(os.Environ(), strings.Fields(env)...)
		if text, err := build.CombinedOutput(); err != nil {
			b.Fatalf("cannot build %s: %v\n%s", source, err, text)
		}
	}
	var err error
	l.users, err = net.ListenPacket("udp", "127.0.0.1:0")
	l.must(err)
	b.Cleanup(func() { l.users.Close() })
	go l.watch()
	l.System, err = rig.Start(b.Context(), built, filepath.Join(dir))
	b.Cleanup(func() {
		if b.Failed() {
			b.Log(rig.Tail(filepath.Join(l.Dir, "agent.log"), 60))
		}
		l.Close()
	})
	l.must(err)
	return l
}

func (l *large) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// watch notes when versions were seen.
func (l *large) watch() {
	sign := make([]byte, 100)
	for {
		n, _, err := l.users.ReadFrom(sign)
		if err != nil {
			return
		}
		version, now := string(sign[:n]), time.Now()
		l.mu.Lock()
		if l.first[version].IsZero() {
			l.first[version] = now
		}
		l.last[version] = now
		l.mu.Unlock()
	}
}

const largeRecipe = `type = "application"
name = "sensor-adapter"
version = %q
maxDowntime = "24h"

[probe]
probation = "200ms"
deadline = "1m"

[settings]
command = ["./beat"]

[settings.env]
BEAT = %q

[settings.health]
file = "healthy"

[[artifact]]
path = "beat"
os = "linux"
arch = "amd64"
`

// publish puts a version onto the file server, with a state of some schema, or
// none.
func (l *large) publish(version string, schema int) {
	l.Helper()
	dir := filepath.Join(l.Dir, "package-"+version)
	l.must(os.MkdirAll(dir, 0o700))
	recipe := strings.Replace(fmt.Sprintf(largeRecipe, version, l.users.LocalAddr().String()), `"amd64"`, `"`+built.Arch+`"`, 1)
	if schema > 0 {
		recipe += fmt.Sprintf("\n[state]\nschema = %d\n", schema)
	}
	if schema > 1 {
		recipe += fmt.Sprintf("\n[[transform]]\nfrom = %d\nto = %d\nmodule = \"lines.wasm\"\nsplit = \"lines\"\nlossy = true\n", schema-1, schema)
	}
	l.must(os.WriteFile(filepath.Join(dir, "tranquil.toml"), []byte(recipe), 0o600))
	l.must(os.Link(filepath.Join(filepath.Dir(l.module), "beat"), filepath.Join(dir, "beat")))
	l.must(os.Link(l.module, filepath.Join(dir, "lines.wasm")))
	out, err := l.CLI(l.Context(), "package", "build", dir, "-o", dir)
	l.must(err)
	file, _, _ := strings.Cut(out, "\n")
	l.must(l.Push(l.Context(), file))
}

// becomes awaits that a version is installed, and returns for how long the
// component was away, and what the outcome says of that.
func (l *large) becomes(from, to string) (gap, said time.Duration) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 2*time.Hour)
	defer cancel()
	r, err := l.Await(ctx, to+" is installed", 2*time.Hour, func(r rig.Reported) bool {
		c := r.Components[rig.SensorAdapter]
		return c.Update.Result != "" && (c.Version == to || c.Update.To == to)
	})
	l.must(err)
	c := r.Components[rig.SensorAdapter]
	if c.Version != to || c.Update.Result != "updated" {
		l.Fatalf("%+v", c)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first[to].Sub(l.last[from]), time.Duration(c.Update.Downtime * float64(time.Second))
}

func (l *large) wish(version string) {
	l.Helper()
	l.must(l.System.Wish(l.Context(), rig.SensorAdapter, fmt.Sprintf(`{"version": %q}`, version)))
}

// rehearsed has an update to a version wait for consent.
func (l *large) rehearsed(version string) {
	l.Helper()
	l.wish(version)
	_, err := l.Await(l.Context(), "it waits for consent", time.Hour, func(r rig.Reported) bool {
		u := r.Components[rig.SensorAdapter].Update
		return u.To == version && strings.HasPrefix(u.WaitingFor, "consent")
	})
	l.must(err)
}

func (l *large) consent() {
	l.Helper()
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) { // an agent that has just started does not show its update yet
		_, err := l.CLI(l.Context(), "consent", l.Device, rig.SensorAdapter)
		if err == nil {
			return
		}
		if time.Since(begin) > time.Minute {
			l.Fatal(err)
		}
	}
}

func (l *large) measure(size, files int) (m away) {
	before := ""
	for i, version := range []string{"0.1.0", "0.2.0", "0.3.0", "0.4.0", "1.0.0"} {
		l.publish(version, i/4)
		l.wish(version)
		gap, _ := l.becomes(before, version)
		if i > 0 && i < 4 && (m.a == 0 || gap < m.a) {
			m.a = gap
		}
		before = version
	}
	live := l.Components(rig.SensorAdapter)[0].State
	l.fill(live, size, files)
	_, err := l.CLI(l.Context(), "consent", l.Device, rig.SensorAdapter, "--ask")
	l.must(err)
	l.publish("2.0.0", 2)
	l.rehearsed("2.0.0")
	l.change(live, size, files)
	l.forgetPeak()
	l.consent()
	m.gap, m.said = l.becomes("1.0.0", "2.0.0")
	m.peak, m.load = l.peak(), load()
	if size <= 100<<20 && files <= 1000 {
		m.b = l.unrehearsed()
	}
	return m
}

// unrehearsed is the next update, for which all that the rehearsal has found
// out is lost.
func (l *large) unrehearsed() time.Duration {
	l.Helper()
	l.publish("3.0.0", 3)
	l.rehearsed("3.0.0")
	l.Agent.Kill()
	l.must(os.RemoveAll(filepath.Join(l.Dir, "agent", "state", rig.SensorAdapter, "memo")))
	l.must(l.StartAgent(l.Context()))
	l.consent()
	gap, _ := l.becomes("2.0.0", "3.0.0")
	return gap
}

// fill makes a state that was written long ago, of lines.
func (l *large) fill(dir string, size, files int) {
	l.Helper()
	long := time.Now().Add(-time.Hour)
	for i := range files {
		name := filepath.Join(dir, fmt.Sprint(i%100), fmt.Sprint(i))
		l.must(os.MkdirAll(filepath.Dir(name), 0o700))
		l.must(os.WriteFile(name, lines(i*size, size/files), 0o600))
		l.must(os.Chtimes(name, long, long))
	}
}

// change appends to the first file, or to as many as make a thousandth.
func (l *large) change(dir string, size, files int) {
	l.Helper()
	n := max(files/1000, 1)
	for i := range n {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(i%100), fmt.Sprint(i)), os.O_APPEND|os.O_WRONLY, 0)
		l.must(err)
		_, err = f.Write(lines((files+i)*size, size/1000/n))
		l.must(err)
		l.must(f.Close())
	}
}

func lines(first, size int) []byte {
	var b bytes.Buffer
	for i := first; b.Len() < size; i++ {
		fmt.Fprintf(&b, `{"object":3303,"instance":0,"value":21.5,"unit":"Cel","number":%d}`+"\n", i)
	}
	return b.Bytes()
}

// load is how many processes have run or wanted to, over the last minute.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	minute, _, _ := strings.Cut(string(text), " ")
	return minute
}

// forgetPeak has the peak of the agent's memory begin anew.
func (l *large) forgetPeak() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", l.Agent.PID()), []byte("5"), 0)
}

// peak is the most memory of the agent that was resident, in bytes.
func (l *large) peak() (bytes int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.Agent.PID()))
	l.must(err)
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	return 0
}
