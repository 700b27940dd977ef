package transformtest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

// A transform that looks at a file as a whole must not declare that it does
// not: the kit finds that out on the author's machine.
func TestSplitThatDoesNotHold(t *testing.T) {
	state := t.TempDir()
	if err := os.WriteFile(filepath.Join(state, "log"), []byte("1\n2\n3\n4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	step := host.Step{Module: transformtest.Build(t, "testdata/sum"), From: 1, To: 2, Split: host.SplitLines}
	_, err := transformtest.Run(t, state, step)
	if e, ok := errors.AsType[*host.Error](err); !ok || !strings.Contains(e.Reason, `split = "lines" does not hold`) {
		t.Errorf("got %v", err)
	}
	step.Split = ""
	if _, err := transformtest.Run(t, state, step); err != nil {
		t.Error(err)
	}
}
