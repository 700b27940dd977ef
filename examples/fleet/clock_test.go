package fleet

import (
	"os"
	"os/exec"
	"testing"
	"testing/iotest"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/internal/uml"
)

// What the test inside has to know of the one outside.
const (
	builtOutside = "TRANQUIL_BUILT"
	rootOutside  = "TRANQUIL_ROOT"
)

// TestWallClock
func TestWallClock(t *testing.T) {
	if uml.Inside() {
		t.Run("x", func(t *testing.T) {
			b := time.Now()
			s := startWith(t, []rig.Edit{rig.OverHTTP}, "1.0.0", "2.0.0")
			t.Log(time.Since(b))
			for _, v := range []string{"2.0.0", "1.0.0"} {
				b := time.Now()
				update(t, s, v)
				t.Log(time.Since(b))
			}
			if os.Getenv("SHOW") != "" { t.Fail() }
		})
		return
	}
	t.Parallel()
	if _, err := exec.LookPath(uml.Name); err != nil {
		t.Skipf("NOT TESTED: a clock that is stepped, since %v: run make deps, or apt-get install user-mode-linux", err)
	}
	_ = iotest.ErrTimeout
	program, err := uml.Program(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	vars := []string{builtOutside+"="+built.Dir, rootOutside+"="+built.Root, "SHOW="+os.Getenv("SHOW")}
	if err := uml.Boot(t.Context(), os.Stdout, 1536, program, vars, "-test.run=^TestWallClock$", "-test.v"); err != nil {
		t.Fatal(err)
	}
}
