package fleet

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestHostileTransform has a device rehearse a transform that attacks it with
// memory, processor, log and disk. Meanwhile the agent keeps answering on its
// control socket; then the twin says why the update was refused, and the
// component was never away.
func TestHostileTransform(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	before, _ := check(t, s)
	attack(t, s)

	ended := make(chan rig.Component, 1)
	go func() {
		defer close(ended)
		c, err := s.Ask(t.Context(), `{"version": "2.6.6", "package": null}`)
		if err != nil {
			t.Error(err)
			return
		}
		ended <- c
	}()
	answers, c := status(t, s, ended)
	if c.Update.Result != "refused" || c.Outcome.Downtime != 0 || !strings.Contains(c.Update.Cause, "transform 1→2 of ") ||
		!strings.Contains(c.Update.Cause, "output limit: more than") || strings.Contains(c.Update.Cause, "\n") {
		t.Errorf("the result is %q with %v s of downtime: %s", c.Update.Result, c.Outcome.Downtime, c.Update.Cause)
	}
	if after, _ := check(t, s); after != before {
		t.Errorf("the component was touched: %+v became %+v", before, after)
	}
	slices.Sort(answers)
	t.Logf("%d answers during the attack: median %v, slowest %v", len(answers), answers[len(answers)/2], answers[len(answers)-1])
	if slowest := answers[len(answers)-1]; slowest > 20*time.Second {
		t.Errorf("the agent took %v to answer", slowest)
	}
	update(t, s, "2.0.0")
}

// attack publishes version 2.6.6, which ships the transform.
func attack(t *testing.T, s *rig.System) {
	t.Helper()
	module := filepath.Join(s.Dir, "attack.wasm")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", module, "./testdata/attack")
	build.Env = append(build.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the transform: %v\n%s", err, out)
	}
	publish(t, s, rig.Replace("2.0.0", "2.6.6"), rig.Replace(`"transform.wasm"`, fmt.Sprintf("%q", "../attack.wasm")))
}

// status asks the agent until the update has ended, and returns how long it
// took each time, with the start of the command that asks.
func status(t *testing.T, s *rig.System, ended <-chan rig.Component) (answers []time.Duration, c rig.Component) {
	t.Helper()
	for {
		begin := time.Now()
		if _, err := s.AgentCLI(t.Context(), "status"); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, time.Since(begin))
		select {
		case c, ok := <-ended:
			if !ok {
				t.FailNow()
			}
			return answers, c
		case <-time.After(20 * time.Millisecond): // not to be an attack itself
		}
	}
}
