package fleet

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/internal/uml"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// TestWallClock boots a kernel with a clock of its own, runs a whole system
// there, backend and device, and steps that clock by ten years, forward and
// back, while an update waits and as each of its steps begins. Nothing may
// come of it: the update ends as any other, took as long as it took, and the
// state is whole. By default it is one update; with TRANQUIL_CLOCK=all each
// step, there and back, has updates of its own, with one step of the clock each;
// TRANQUIL_CLOCK=save,probe does that for some.
func TestWallClock(t *testing.T) {
	if uml.Inside() {
		stepClock(t)
		return
	}
	t.Parallel()
	bootInside(t)
}

// bootInside runs the same test inside, with the versions that it needs, and these
// variables.
func bootInside(t *testing.T, more ...string) {
	t.Helper()
	if _, err := exec.LookPath(uml.Name); err != nil || testing.Short() {
		t.Skipf("NOT TESTED: steps of the wall clock: %v; run make deps, or apt-get install user-mode-linux", cmp.Or(err, fmt.Errorf("-short is set")))
	}
	dir := t.TempDir()
	program, err := uml.Program(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	variables := append(more, outside+"="+built.Dir, rootOutside+"="+built.Root, clockEnv+"="+strings.ReplaceAll(os.Getenv(clockEnv), " ", "_"))
	for _, version := range versionsInside() {
		file, err := built.Package(t.Context(), dir, version, quick...)
		if err != nil {
			t.Fatal(err)
		}
		variables = append(variables, packageOutside+strings.ReplaceAll(version, ".", "_")+"="+file)
	}
	var console bytes.Buffer
	out := io.Writer(&console)
	if testing.Verbose() {
		out = os.Stdout
	}
	if err := uml.Boot(t.Context(), out, 1536, program, variables, "-test.v", "-test.timeout=12h", "-test.run=^"+t.Name()+"$"); err != nil {
		t.Fatalf("%v\n%s", err, console.String())
	}
}

// What the test inside is told by the one outside.
const (
	clockEnv       = "TRANQUIL_CLOCK"
	outside        = "TRANQUIL_OUTSIDE" // directory of the programs
	rootOutside    = "TRANQUIL_ROOT"    // of the sources
	packageOutside = "TRANQUIL_PACKAGE_"
)

// aimedAt reports whether a step of the clock is aimed at a point: at all of
// them, or at those that are listed, as in "save,undo_save".
func aimedAt(p point) bool {
	list := os.Getenv(clockEnv)
	return list == "all" || slices.Contains(strings.Split(list, ","), strings.ReplaceAll(p.String(), " ", "_"))
}

func versionsInside() []string {
	if os.Getenv(clockEnv) != "" {
		return []string{"1.0.0", "2.0.0", "3.0.0"}
	}
	return []string{"1.0.0", "2.0.0"}
}

// fromOutside copies what was compiled and packed outside.
func fromOutside(dir string) (rig.Built, error) {
	for _, version := range versionsInside() {
		file := os.Getenv(packageOutside + strings.ReplaceAll(version, ".", "_"))
		packages.Store(version, func() (string, error) { return file, nil })
	}
	programs, err := filepath.Glob(filepath.Join(os.Getenv(outside), "*"))
	if err != nil {
		return rig.Built{}, err
	}
	for _, from := range programs {
		info, err := os.Stat(from)
		if err != nil || !info.Mode().IsRegular() || filepath.Ext(from) != "" {
			continue
		}
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(from)), b, 0o755)
		}
		if err != nil {
			return rig.Built{}, err
		}
	}
	return rig.Built{Dir: dir, Root: os.Getenv(rootOutside), Arch: runtime.GOARCH}, nil
}

// decade is whole weeks, so that it is the same day of the week.
const decade = 522 * 7 * 24 * time.Hour

// A pendulum is the clock inside: it shows the right time, or one a decade
// from it.
type pendulum struct{ decades int }

// set steps the clock to some decades from now.
func (p *pendulum) set(t *testing.T, decades int) {
	t.Helper()
	if err := uml.Step(time.Duration(decades-p.decades) * decade); err != nil {
		t.Fatal(err)
	}
	p.decades = decades
}

// swing steps it to the next of now, in ten years, now, ten years ago.
func (p *pendulum) swing(t *testing.T, n int) { p.set(t, []int{0, 1, 0, -1}[n%4]) }

func stepClock(t *testing.T) {
	s := startWith(t, []rig.Edit{rig.OverHTTP}, versionsInside()...)
	var p pendulum
	t.Run("at every step of one", func(t *testing.T) { swung(t, s, &p) })
	if os.Getenv(clockEnv) == "" || t.Failed() {
		return
	}
	l := traceFrom(s.Agent.Log)
	update(t, s, "1.0.0")
	r := follow(t, l)
	for n, at := range r.points {
		if !aimedAt(at) {
			continue
		}
		for turn := range 4 {
			decades := []int{1, 0, -1, 0}[turn]
			t.Run(fmt.Sprintf("%s, to %+d years", at, 10*decades), func(t *testing.T) { stepped(t, s, &p, r, at, decades, 4*n+turn) })
		}
	}
}

// swung is an update that waits for its window while the clock is stepped,
// and then finds another time at each of its steps.
func swung(t *testing.T, s *rig.System, p *pendulum) {
	before, state := whole(t, s)
	last, l := lastUpdate(t, s), traceFrom(s.Agent.Log)
	desire(t, s, map[string]any{"version": "2.0.0", "window": inTwoDays(), "consent": "ask"})
	var u rig.Update
	await(t, s, "it waits for consent and its window", func(r rig.Reported) bool {
		u = r.Components[rig.SensorAdapter].Update
		return strings.HasPrefix(u.WaitingFor, "consent to update "+u.ID+"; the maintenance window")
	})
	p.set(t, 1)
	desire(t, s, map[string]any{"consented": u.ID})
	await(t, s, "it waits for a window of then", func(r rig.Reported) bool {
		u := r.Components[rig.SensorAdapter].Update
		return u.WaitingUntil != nil && u.WaitingUntil.After(time.Now()) && u.WaitingUntil.Before(time.Now().Add(decade))
	})
	if now, _ := check(t, s); now != before {
		t.Errorf("the component was touched: %+v became %+v", before, now)
	}
	begin := time.Now()
	desire(t, s, map[string]any{"now": "2.0.0"})
	ended := make(chan struct{})
	swings := 0
	go func() {
		defer close(ended)
		for done := 0; t.Context().Err() == nil; time.Sleep(2 * time.Millisecond) {
			steps, over := l.read()
			if len(steps) > done {
				done = len(steps)
				swings++
				p.swing(t, swings)
			}
			if over {
				return
			}
		}
	}()
	c, err := s.Ended(t.Context(), last)
	<-ended
	p.set(t, 0)
	if err != nil {
		t.Fatal(err)
	}
	usual(t, c, u.ID, "2.0.0", "updated", time.Since(begin))
	sound(t, s, "2.0.0", state)
	t.Logf("stepped the clock %d times: %+v", swings, c.Outcome)
	desire(t, s, map[string]any{"consent": nil, "window": nil})
}

// stepped is an update with one step of the clock, as one of its own begins.
func stepped(t *testing.T, s *rig.System, p *pendulum, r route, at point, decades, n int) {
	before, state := whole(t, s)
	last, l := lastUpdate(t, s), traceFrom(s.Agent.Log)
	wanted, runs, result := map[string]string{"1.0.0": "2.0.0", "2.0.0": "1.0.0"}[before.Version], "", "updated"
	if runs = wanted; at.back {
		wanted, runs, result = "3.0.0", before.Version, "turned back"
	}
	begin := time.Now()
	desire(t, s, map[string]any{"version": wanted, "attempt": n})
	r.reach(t, l, at, rand.New(rand.NewPCG(3, uint64(n))))
	p.set(t, decades)
	c, err := s.Ended(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	usual(t, c, c.Update.ID, runs, result, time.Since(begin))
	sound(t, s, runs, state)
}

// usual says whether an update ended as if the clock had not been touched.
// All its durations are parts of the time that it took.
func usual(t *testing.T, c rig.Component, id, version, result string, took time.Duration) {
	t.Helper()
	o := c.Outcome
	if c.Update.ID != id || c.Update.Result != result || c.Version != version || !c.Running || c.Stale || c.Update.WaitingFor != "" {
		t.Fatalf("it ended so: %+v", c)
	}
	const patience = 3600 // seconds: a prediction may be wrong, by no years
	if o.Downtime <= 0 || o.Downtime > took.Seconds() || o.Predicted <= 0 || o.Predicted > patience || o.PredictionError < -patience || o.PredictionError > took.Seconds() {
		t.Errorf("after %s: %+v", took, o)
	}
	if o.Rest != "tranquil" {
		t.Errorf("it came to rest %s: %s", o.Rest, o.RestReason)
	}
}

// await waits until the twin says something. The device never goes offline.
func await(t *testing.T, s *rig.System, what string, fits func(rig.Reported) bool) {
	t.Helper()
	_, err := s.Await(t.Context(), what, rig.UpdateTime, func(r rig.Reported) bool {
		if r.State == "offline" {
			t.Error("the twin says that the device is offline")
		}
		return fits(r)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// desire changes desired properties of the component, without a program that
// has to be started.
func desire(t *testing.T, s *rig.System, of map[string]any) {
	t.Helper()
	change := map[string]any{"components": map[string]any{rig.SensorAdapter: of}}
	for try := 1; ; try++ { // the clock may be stepped between the making of a token and its use
		_, err := s.Hub.PatchTwin(t.Context(), s.Device, iothub.TwinPatch{Desired: change}, "")
		if err == nil {
			return
		}
		if try == 3 || context.Cause(t.Context()) != nil {
			t.Fatal(err)
		}
	}
}
