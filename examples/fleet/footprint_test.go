package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// idle is how long the agent is left alone to be measured.
const idle = time.Minute

// BenchmarkFootprint measures what an agent with its three updaters takes of a device
// on which nothing happens: memory that it shares with nobody, resident memory (of
// which most is the programs, which the kernel can drop), processor time and writes in
// a minute, wake-ups (voluntary context switches), and the sizes of the programs.
func BenchmarkFootprint(b *testing.B) {
	dir := b.TempDir()
	firmware := filepath.Join(dir, "tranquil-updater-firmware")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-ldflags=-s -w", "-o", firmware, "../../plugins/firmware").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	pins := ""
	for kind, path := range map[string]string{"firmware": firmware, "container": built.Program("tranquil-updater-container")} {
		sum, err := exec.CommandContext(b.Context(), "sha256sum", path).Output()
		if err != nil {
			b.Fatal(err)
		}
		pins += fmt.Sprintf("\n[[updater]]\ntype = %q\npath = %q\nsha256 = %q\n", kind, path, sum[:64])
	}
	system, err := rig.Start(b.Context(), built, dir, rig.Replace(`components = ["application/sensor-adapter"]`,
		`components = ["application/sensor-adapter", "container/c", "firmware/f"]`), func(config string) string { return config + pins })
	b.Cleanup(system.Close)
	if err != nil {
		b.Fatal(err)
	}
	processes := func() []int { return descendants(system.Agent.PID()) }
	for len(processes()) < 4 {
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(10 * time.Second) // what a start leaves is collected
	for b.Loop() {
		before := usageOf(processes())
		time.Sleep(idle)
		after := usageOf(processes())
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(after.private)/(1<<20), "MB-private")
		b.ReportMetric(float64(after.resident)/(1<<20), "MB-resident")
		b.ReportMetric(float64((after.cpu - before.cpu).Milliseconds()), "ms-cpu/min")
		b.ReportMetric(float64(after.written-before.written)/1024, "KB-written/min")
		b.ReportMetric(float64(after.switches-before.switches), "wakeups/min")
	}
	for _, pid := range processes() {
		u := usageOf([]int{pid})
		b.Logf("%s: %.1f MB private, %.1f MB resident", filepath.Base(programOf(pid)), float64(u.private)/(1<<20), float64(u.resident)/(1<<20))
	}
}

// A usage is what processes take together.
type usage struct {
	private, resident, written, switches int64
	cpu                                  time.Duration
}

// descendants are a process and those that it has started, with theirs.
func descendants(pid int) []int {
	all := []int{pid}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for child := range strings.FieldsSeq(string(text)) {
			if id, err := strconv.Atoi(child); err == nil {
				all = append(all, descendants(id)...)
			}
		}
	}
	return all
}

func programOf(pid int) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return path
}

// clockTick is the unit of times in /proc/PID/stat, which Linux has had for all
// architectures of ours since it is asked about it.
const clockTick = 10 * time.Millisecond

func usageOf(pids []int) (u usage) {
	for _, pid := range pids {
		u.private += 1024 * numberIn(pid, "status", "RssAnon:")
		u.resident += 1024 * numberIn(pid, "smaps_rollup", "Rss:")
		u.written += numberIn(pid, "io", "write_bytes:")
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		for _, task := range tasks {
			text, _ := os.ReadFile(task)
			u.switches += numberOf(string(text), "voluntary_ctxt_switches:")
		}
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if _, rest, ok := strings.Cut(string(stat), ") "); ok {
			fields := strings.Fields(rest)
			user, _ := strconv.ParseInt(fields[11], 10, 64)
			system, _ := strconv.ParseInt(fields[12], 10, 64)
			u.cpu += time.Duration(user+system) * clockTick
		}
	}
	return u
}

func numberIn(pid int, file, name string) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	return numberOf(string(text), name)
}

func numberOf(text, name string) int64 {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n
		}
	}
	return 0
}
