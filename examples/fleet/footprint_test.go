package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// idle is how long the agent is left alone to be measured.
const idle = time.Minute

// BenchmarkFootprint measures what an agent with its three updaters takes of a device
// on which nothing happens: memory that it shares with nobody, resident memory (of
// which most is the programs, which the kernel can drop), processor time and writes in
// a minute, wake-ups (voluntary context switches); and during an update with a
// transform the peak of memory and what is written to the disk. The peers, other
// update agents that are installed here, are measured in the same way while they wait
// for updates; ×private is how many times their memory ours has.
func BenchmarkFootprint(b *testing.B) {
	ours := sync.OnceValue(func() usage { return waiting(b, processesOf(launchThree(b))) })
	b.Run("tranquil", func(b *testing.B) { ours().report(b) })
	b.Run("tranquil/update", func(b *testing.B) {
		system := launchThree(b)
		put(b, system, "1.0.0", "2.0.0")
		processesOf(system)
		update(b, system, "1.0.0")
		peak, written := during(system.Agent.PID(), func() { update(b, system, "2.0.0") })
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(peak)/(1<<20), "MB-private-peak")
		b.ReportMetric(float64(written)/1024, "KB-written")
	})
	for _, p := range peers {
		b.Run(p.program, func(b *testing.B) {
			u := waiting(b, p.start(b))
			u.report(b)
			b.ReportMetric(float64(ours().private)/float64(u.private), "×private")
		})
	}
}

// launchThree starts a system whose agent has three updaters.
func launchThree(b *testing.B) *rig.System {
	b.Helper()
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
	return system
}

// processesOf are those of an agent and its three updaters, when all run.
func processesOf(system *rig.System) []int {
	for {
		if all := descendants(system.Agent.PID()); len(all) >= 4 {
			return all
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// waiting is what processes take that have nothing to do.
func waiting(b *testing.B, pids []int) usage {
	time.Sleep(10 * time.Second) // what a start leaves is collected
	before := usageOf(pids)
	time.Sleep(idle)
	u := usageOf(pids)
	if u.private == 0 {
		b.Fatal("it has ended")
	}
	u.cpu -= before.cpu
	u.written -= before.written
	u.switches -= before.switches
	for _, pid := range pids {
		one := usageOf([]int{pid})
		b.Logf("%s: %.1f MB private, %.1f MB resident", filepath.Base(programOf(pid)), float64(one.private)/(1<<20), float64(one.resident)/(1<<20))
	}
	return u
}

func (u usage) report(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(u.private)/(1<<20), "MB-private")
	b.ReportMetric(float64(u.resident)/(1<<20), "MB-resident")
	b.ReportMetric(float64(u.cpu.Milliseconds()), "ms-cpu/min")
	b.ReportMetric(float64(u.written)/1024, "KB-written/min")
	b.ReportMetric(float64(u.switches), "wakeups/min")
}

// during is the most memory that a process and those that it starts have had together
// while something was done, and what they have written, in bytes.
func during(pid int, do func()) (peak, written int64) {
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	last, first := map[int]int64{}, map[int]int64{}
	for _, p := range descendants(pid) {
		first[p] = usageOf([]int{p}).written
	}
	for {
		private := int64(0)
		for _, p := range descendants(pid) {
			u := usageOf([]int{p})
			private += u.private
			last[p] = max(last[p], u.written)
		}
		peak = max(peak, private)
		select {
		case <-done:
			for p, n := range last {
				written += n - first[p]
			}
			return peak, written
		case <-time.After(5 * time.Millisecond):
		}
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
