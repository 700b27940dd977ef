package state

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// A long file that is split has been transformed by the rehearsal but for its
// last piece, and what the component has appended since.
func TestSplitFile(t *testing.T) {
	dir := t.TempDir()
	live := filepath.Join(dir, "live")
	text := readings(4 << 20)
	must(t, os.MkdirAll(live, 0o700))
	must(t, os.WriteFile(filepath.Join(live, "log"), text, 0o600))
	age(t, filepath.Join(live, "log"))
	step := lines(t)
	step.Split = host.SplitLines
	h := &host.Host{Cache: filepath.Join(dir, "cache")}
	m := manager(t, filepath.Join(dir, "states"), h)
	snapshot, err := m.Fresh(component, 1)
	must(t, err)
	link(t, live, snapshot)
	steps := []host.Step{step}
	_, err = m.Rehearse(t.Context(), component, 1, steps, nil)
	must(t, err)

	log, err := os.OpenFile(filepath.Join(live, "log"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = log.WriteString("appended\n")
	must(t, err)
	must(t, log.Close())
	_, err = m.Settle(component, 1)
	must(t, err)
	saved, err := m.Fresh(component, 2)
	must(t, err)
	link(t, live, saved)
	must(t, m.Seal(component, 2, meta("1.0.0")))
	report, err := m.Transform(t.Context(), component, 2, 3, steps, nil)
	must(t, err)
	must(t, m.Seal(component, 3, meta("2.0.0")))
	made, _, err := m.Load(component, 3)
	must(t, err)

	if report.Kept == 0 || report.In > 2<<20 {
		t.Errorf("%d bytes of %d were transformed once more, %d pieces were kept", report.In, len(text), report.Kept)
	}
	got, err := os.ReadFile(filepath.Join(made, "log"))
	must(t, err)
	var want bytes.Buffer
	for line := range bytes.Lines(append(text, "appended\n"...)) {
		want.WriteString("2 ")
		want.Write(line)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("the result has %d bytes, not the %d that it should", len(got), want.Len())
	}
}
