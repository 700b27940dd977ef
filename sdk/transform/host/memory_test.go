package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/internal/wat"
)

// peaks are the largest resident memories during a run, bytes, as the system
// counts them.
type peaks struct{ host, sandbox int64 }

// run applies a step to a state; nothing else may have a sandbox meanwhile.
func (p *peaks) run(t testing.TB, h *Host, step Step, state string) Report {
	t.Helper()
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the largest is that of now
	out := filepath.Join(t.TempDir(), "out")
	report, err := h.Run(t.Context(), []Step{step}, state, out, func(int64, int64) {
		for _, dir := range sandboxes(t, os.Getpid()) {
			p.sandbox = max(p.sandbox, resident(dir))
		}
	})
	must(t, err)
	must(t, os.RemoveAll(out))
	p.host = resident("/proc/self")
	return report
}

// resident is the largest resident memory of a process so far, bytes.
func resident(dir string) (kilobytes int64) {
	status, _ := os.ReadFile(dir + "/status") // processes come and go
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes)
	}
	return kilobytes << 10
}

// A file of any length goes through a filter in the same memory, in the sandbox
// and in the host: here one of 256 MB, which is all holes. BenchmarkThroughput
// has one of 1 GB with something in it.
func TestLongFile(t *testing.T) {
	text, err := os.ReadFile("../testdata/abi/echo/module.wat")
	must(t, err)
	step := Step{Module: filepath.Join(t.TempDir(), "echo.wasm"), From: 1, To: 2}
	must(t, os.WriteFile(step.Module, wat.Assemble(t, string(text)), 0o600))
	sizes := []int64{1 << 20, 256 << 20}
	var used [2]peaks
	for i, size := range sizes {
		state := t.TempDir()
		must(t, os.WriteFile(filepath.Join(state, "f"), nil, 0o600))
		must(t, os.Truncate(filepath.Join(state, "f"), size))
		if report := used[i].run(t, &Host{Cache: cache}, step, state); report.In != size || report.Out != size {
			t.Errorf("of %d bytes %d were read and %d written", size, report.In, report.Out)
		}
	}
	t.Logf("sandbox: %d MB, then %d MB; host: %d MB, then %d MB", used[0].sandbox>>20, used[1].sandbox>>20, used[0].host>>20, used[1].host>>20)
	if used[0].sandbox == 0 || used[1].sandbox > 64<<20 || used[1].sandbox > used[0].sandbox+16<<20 {
		t.Errorf("the sandbox needs %d bytes for %d, and %d for %d", used[0].sandbox, sizes[0], used[1].sandbox, sizes[1])
	}
	if grown := used[1].host - used[0].host; !raced && grown > 16<<20 {
		t.Errorf("the host takes %d bytes more for the long file", grown)
	}
}
