package transformtest

import (
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

func TestMain(m *testing.M) { Main(m) }

// witness records what the kit reports as failed.
type witness struct {
	testing.TB
	failed bool
}

func (w *witness) Helper()               {}
func (w *witness) Errorf(string, ...any) { w.failed = true }

func TestGolden(t *testing.T) {
	step := host.Step{Module: Build(t, "../host/testdata/subject"), From: 1, To: 2, Format: "json"}
	Golden(t, "testdata/up", step)

	wrong := &witness{TB: t}
	Same(wrong, "testdata/up/old", "testdata/up/new")
	if !wrong.failed {
		t.Error("a difference was not reported")
	}
}
