package fleet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestHung freezes the updater, for good, at steps that need it: the agent
// says so, kills and replaces it, and the update goes on. The component's
// state is whole. By default at a few steps, with TRANQUIL_HUNG=all at each.
func TestHung(t *testing.T) {
	t.Parallel()
	s := startWith(t, []rig.Edit{frozenSoon}, "1.0.0", "2.0.0")
	l := traceFrom(s.Agent.Log)
	update(t, s, "2.0.0")
	r := follow(t, l)
	for n, p := range r.points {
		if p.back || os.Getenv("TRANQUIL_HUNG") != "all" && p.step != "stage" && p.step != "apply" {
			continue
		}
		t.Run(p.step, func(t *testing.T) { hang(t, s, r, p, n) })
	}
}

// hang freezes the updater at one step.
func hang(t *testing.T, s *rig.System, r route, p point, n int) {
	before, state := whole(t, s)
	wanted := map[string]string{"1.0.0": "2.0.0", "2.0.0": "1.0.0"}[before.Version]
	last := lastUpdate(t, s)
	l := traceFrom(s.Agent.Log)
	if err := s.Wish(t.Context(), rig.SensorAdapter, fmt.Sprintf(`{"version": %q, "attempt": %d}`, wanted, n+1)); err != nil {
		t.Fatal(err)
	}
	r.reach(t, l, p, rand.New(rand.NewPCG(2, uint64(n))))
	if !signal(syscall.SIGSTOP)(s.Updater()) {
		t.Fatal("there is no updater to freeze")
	}
	c, err := s.Ended(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	if c.Update.Result != "updated" || c.Version != wanted {
		t.Errorf("frozen during %s, the update ended: %+v", p, c.Update)
	}
	sound(t, s, wanted, state)
	eventually(t, "the agent says that the updater is frozen", func() bool {
		log, err := os.ReadFile(l.path)
		return err == nil && bytes.Contains(log[l.begin:], []byte("updater is frozen and is killed"))
	})
}
