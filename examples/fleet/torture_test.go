package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

// TestTorture strikes at random moments of updates there and back, and of
// updates that turn back: SIGKILL of agent, backend, updater, supervisor or
// component, SIGSTOP of the updater; TRANQUIL_TORTURE times, or a few.
// Whatever the moment, the old or the new version runs in the end, the
// sequence is unbroken, and no file of the state is lost or altered.
//
// TRANQUIL_SEED repeats a plan: which victim, aimed at which step, after
// which part of it. What the scheduler does in between cannot be repeated.
func TestTorture(t *testing.T) {
	t.Parallel()
	total, workers := 2, 1
	if n, err := strconv.Atoi(os.Getenv("TRANQUIL_TORTURE")); err == nil {
		total, workers = n, min(3, 1+n/10)
	}
	seed := time.Now().UnixNano() % 1e9
	if n, err := strconv.ParseInt(os.Getenv("TRANQUIL_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("repeat this plan with SEED=%d N=%d", seed, total)
	all := &tally{seed: uint64(seed), blows: map[string]map[string]int{}, results: map[string]int{}}
	t.Cleanup(func() { t.Log("\n" + all.String()) })
	for w := range workers {
		t.Run(fmt.Sprint("worker ", w+1), func(t *testing.T) {
			t.Parallel()
			for n := w; n < total; {
				t.Run(fmt.Sprint("from ", n+1), func(t *testing.T) { n = torment(t, all, n, total, workers) })
			}
		})
	}
}

// torment strikes one system again and again, until something is broken.
func torment(t *testing.T, all *tally, n, total, stride int) (next int) {
	s := startWith(t, []rig.Edit{frozenSoon}, "1.0.0", "2.0.0", "3.0.0")
	l := traceFrom(s.Agent.Log)
	update(t, s, "2.0.0")
	r := follow(t, l)
	all.inOrder(r.points)
	for ; n < total && !t.Failed(); n += stride {
		l = traceFrom(s.Agent.Log)
		b := plan(r, all.seed, n)
		struck(t, s, l, r, &b, rand.New(rand.NewPCG(all.seed, uint64(n))))
		r.learn(l)
		all.count(b)
	}
	return n
}

// plan takes each victim at each step once before it takes any twice.
func plan(r route, seed uint64, n int) blow {
	pairs := len(r.points) * len(victims)
	order := rand.New(rand.NewPCG(seed, uint64(n/pairs))).Perm(pairs)
	pair := order[n%pairs]
	return blow{n: n + 1, aim: r.points[pair/len(victims)], victim: victims[pair%len(victims)]}
}

// struck is one strike, and all that must hold after it.
func struck(t *testing.T, s *rig.System, l trace, r route, b *blow, random *rand.Rand) {
	t.Helper()
	before, state := whole(t, s)
	wanted := map[string]string{"1.0.0": "2.0.0", "2.0.0": "1.0.0"}[before.Version]
	if b.aim.back {
		wanted = "3.0.0" // is never healthy
	}
	last := lastUpdate(t, s)
	if err := s.Wish(t.Context(), rig.SensorAdapter, fmt.Sprintf(`{"version": %q, "attempt": %d}`, wanted, b.n)); err != nil {
		t.Fatal(err)
	}
	r.reach(t, l, b.aim, random)
	steps, ended := l.read()
	b.struck, b.ended = r.now(steps, b.aim.back), ended
	b.was = b.victim.strike(t, s, random)
	c, err := s.Ended(t.Context(), last)
	if err != nil {
		t.Errorf("%s: %v", b, err)
		return
	}
	b.result = c.Update.Result
	t.Logf("%s, to %s: %s, %s runs, downtime %.2f s %s", b, wanted, b.result, c.Version, c.Update.Downtime, c.Update.Cause)
	if !b.fits(before.Version, wanted, c) {
		t.Errorf("%s, from %s to %s: %+v", b, before.Version, wanted, c)
	}
	if b.lost, b.altered, err = harmed(s, c.Version, state); err != nil || len(b.lost)+len(b.altered) > 0 {
		t.Errorf("%s: %v; files of the state: lost %q, altered %q", b, err, b.lost, b.altered)
	}
}

// fits says whether an update may end so.
func (b blow) fits(before, wanted string, c rig.Component) bool {
	switch c.Update.Result {
	case "updated":
		return c.Version == wanted && wanted != "3.0.0"
	case "turned back", "refused":
		return c.Version == before && (wanted == "3.0.0" || !b.victim.strict)
	}
	return false
}

// whole verifies the whole state of the one process of the component.
func whole(t *testing.T, s *rig.System) (rig.Running, audit.Whole) {
	t.Helper()
	running, _ := check(t, s)
	w, err := audit.All(truly(running.State))
	if err != nil {
		t.Fatal(err)
	}
	return running, w
}

// harmed waits until the version that should run has added a reading, and
// compares the whole state with an earlier one.
func harmed(s *rig.System, version string, before audit.Whole) (lost, altered []string, err error) {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		running := s.Components(rig.SensorAdapter)
		if time.Now().After(deadline) {
			return nil, nil, fmt.Errorf("%s adds no reading: %+v", version, running)
		}
		if len(running) != 1 || running[0].Version != version {
			continue
		}
		now, err := audit.All(truly(running[0].State))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is being replaced
		}
		if err != nil {
			return nil, nil, err
		}
		if lost, altered = now.Since(before); len(lost)+len(altered) > 0 || now.Count() > before.Count() {
			return lost, altered, nil
		}
	}
}

// A tally counts what came of the strikes.
type tally struct {
	mu      sync.Mutex
	seed    uint64
	blows   map[string]map[string]int // step → victim → strikes
	order   []point                   // of the rows
	results map[string]int
	after   int // strikes after the update had ended
	absent  int // strikes at what did not run
	lost    int // files of a state
	altered int
}

func (a *tally) inOrder(points []point) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.order = points
}

func (a *tally) count(b blow) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.results[b.result]++
	a.lost, a.altered = a.lost+len(b.lost), a.altered+len(b.altered)
	switch {
	case !b.was:
		a.absent++
		return
	case b.ended:
		a.after++
		return
	}
	at := b.struck.String()
	if a.blows[at] == nil {
		a.blows[at] = map[string]int{}
	}
	a.blows[at][b.victim.name]++
}

// String is the closing table.
func (a *tally) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "struck during")
	for _, v := range victims {
		fmt.Fprint(w, "\t", v.name)
	}
	fmt.Fprintln(w)
	points := 0
	for _, step := range a.order {
		fmt.Fprint(w, step)
		for _, v := range victims {
			n := a.blows[step.String()][v.name]
			points += min(n, 1)
			fmt.Fprint(w, "\t", n)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	fmt.Fprintf(&out, "\nseed %d\nkill points covered (step × victim)  %d\n", a.seed, points)
	fmt.Fprintf(&out, "struck after the end                  %d\nstruck what did not run just then     %d\n", a.after, a.absent)
	for _, line := range []struct{ text, result string }{
		{"updated", "updated"},
		{"turned back", "turned back"},
		{"refused", "refused"},
		{"Inconsistent (must be 0)", "inconsistent"},
		{"no result (must be 0)", ""},
	} {
		fmt.Fprintf(&out, "%-38s%d\n", line.text, a.results[line.result])
	}
	fmt.Fprintf(&out, "state files lost (must be 0)          %d\nstate files altered (must be 0)       %d\n", a.lost, a.altered)
	return out.String()
}

func lastUpdate(t *testing.T, s *rig.System) string {
	t.Helper()
	r, err := s.Reported(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r.Components[rig.SensorAdapter].Update.ID
}

// typical measures how long an update takes, there and back.
func typical(t *testing.T, s *rig.System) time.Duration {
	begin := time.Now()
	update(t, s, "2.0.0")
	update(t, s, "1.0.0")
	return time.Since(begin) / 2
}

// unbroken waits for new readings of the version that should run, and checks
// that all of before are still there.
func unbroken(t *testing.T, s *rig.System, version string, before audit.Report) {
	t.Helper()
	running, first := check(t, s)
	if running.Version != version {
		t.Fatalf("version %s runs instead of %s", running.Version, version)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		_, now := check(t, s)
		if now.Count() <= first.Count() {
			continue
		}
		if now.Digest(before.Count()) != before.Digest(before.Count()) {
			t.Fatal("readings have changed")
		}
		return
	}
	t.Fatal("no new reading within a minute")
}
