package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest/hostile"
)

// attacks are those of the corpus that a device has to stand here, at least one
// of each class of failure; TestCorpus of sdk/transform/host runs them all. The
// first needs a ceiling of its own.
var attacks = []string{
	"compiler: loops",
	"decoder: functions", "files", "network", "feature: SIMD", "compiler: functions",
	"CPU", "memory: more than is", "memory: cannot do less", "tables", "stack",
	"output", "log", "trap", "lie: half is all", "lie: late",
}

// Ceilings with which attacks end soon. An honest transform is never under the
// one that is short of time to compile.
const (
	hasty  = "\n[transform]\ncompile = \"300ms\"\n"
	scarce = "\n[transform]\ncpu = \"1s\"\nmemory = 16777216\n"
)

// budget is what an agent may have had in memory at its peak: about twice what
// it has when it begins.
const budget = 100 << 20

// TestHostileTransform has a device rehearse transforms that attack it. Each
// ends in its class, which the twin tells with a reason of one line, while the
// component is never away; the agent keeps answering on its control socket and
// within its memory; no process and no file is left of any.
func TestHostileTransform(t *testing.T) {
	t.Parallel()
	ceiling := ""
	s := startWith(t, []rig.Edit{func(config string) string { return config + ceiling }}, "1.0.0")
	put(t, s, "2.0.0")
	before, _ := check(t, s)
	corpus := hostile.Corpus(t)
	v := attacked{T: t, System: s}
	for i, name := range attacks {
		if of := map[int]string{0: hasty, 1: scarce}[i]; of != "" {
			v.peak()
			v.restart(&ceiling, of)
		}
		v.stand(fmt.Sprintf("2.6.%d", i+1), name, corpus[name])
	}
	v.peak()
	if after, _ := check(t, s); after != before {
		t.Errorf("the component was touched: %+v became %+v", before, after)
	}
	v.report()
	v.restart(&ceiling, "")
	update(t, s, "2.0.0")
}

// An attacked is a device under attack.
type attacked struct {
	*testing.T
	*rig.System
	answers []time.Duration // of the control socket
	highest int64           // memory of the agent, bytes
}

// restart starts the agent anew with another ceiling for transforms.
func (v *attacked) restart(ceiling *string, to string) {
	v.Helper()
	v.Agent.Stop()
	*ceiling = to
	if err := v.StartAgent(v.Context()); err != nil {
		v.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := v.status()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			v.Fatal(err)
		}
	}
}

// stand publishes a version with an attack and wishes for it.
func (v *attacked) stand(version, name string, attack hostile.Attack) {
	v.Helper()
	if attack.Module == nil {
		v.Fatalf("the corpus has no %q", name)
	}
	v.publish(version, attack.Module)
	files := v.files()
	ended := make(chan rig.Component, 1)
	go func() {
		defer close(ended)
		c, err := v.Ask(v.Context(), fmt.Sprintf(`{"version": %q, "package": null}`, version))
		if err != nil {
			v.Errorf("%s: %v", name, err)
			return
		}
		ended <- c
	}()
	c := v.ask(ended)
	if c.Update.Result != "refused" || c.Outcome.Downtime != 0 || c.Outcome.To != version || strings.Contains(c.Update.Cause, "\n") || c.Outcome.Cause != c.Update.Cause ||
		!strings.Contains(c.Update.Cause, "transform 1→2") || !strings.Contains(c.Update.Cause, attack.Class) || !strings.Contains(c.Update.Cause, attack.Reason) {
		v.Errorf("%s, which is to end in %s: the result is %q after %v s of downtime: %s", name, attack.Class, c.Update.Result, c.Outcome.Downtime, c.Update.Cause)
	}
	v.Logf("%s: %s", name, c.Update.Cause)
	for deadline := time.Now().Add(time.Minute); len(v.sandboxes()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			v.Fatalf("%s: sandboxes are left: %v", name, v.sandboxes())
		}
	}
	if now := v.files(); !slices.Equal(now, files) {
		v.Errorf("%s: there were the files %v, and are %v", name, files, now)
	}
}

// publish pushes a package with the module, which the command line would not
// build: an attacker has tools of his own.
func (v *attacked) publish(version string, module []byte) {
	v.Helper()
	dir := v.TempDir()
	const recipe = `type = "application"
name = "sensor-adapter"
version = %q
[state]
schema = 2
[settings]
command = ["./sensor-adapter"]
state = "directory"
[[artifact]]
path = "sensor-adapter"
[[transform]]
from = 1
to = 2
module = "attack.wasm"
files = ["calibration.json"]
format = "json"
lossy = true
`
	for file, content := range map[string][]byte{pack.RecipeFile: fmt.Appendf(nil, recipe, version), "attack.wasm": module, "sensor-adapter": []byte("#!/bin/false\n")} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o700); err != nil {
			v.Fatal(err)
		}
	}
	r, err := pack.ReadRecipe(dir)
	if err != nil {
		v.Fatal(err)
	}
	_, file, err := r.BuildFile(dir + "/")
	if err == nil {
		err = v.Push(v.Context(), file)
	}
	if err != nil {
		v.Fatal(err)
	}
}

// ask asks the agent for its status until the update has ended, and notes how
// long it takes to answer.
func (v *attacked) ask(ended <-chan rig.Component) rig.Component {
	v.Helper()
	for {
		begin := time.Now()
		if err := v.status(); err != nil {
			v.Fatal(err)
		}
		v.answers = append(v.answers, time.Since(begin))
		select {
		case c, ok := <-ended:
			if !ok {
				v.FailNow()
			}
			return c
		case <-time.After(10 * time.Millisecond): // not to be an attack itself
		}
	}
}

// status asks the agent on its control socket, on a new connection.
func (v *attacked) status() error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", v.Control())
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: time.Minute}
	response, err := client.Get("http://agent/v1/status")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var status any
	err = json.NewDecoder(response.Body).Decode(&status)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return err
}

// sandboxes are the processes that the agent has started, but for its updaters.
func (v *attacked) sandboxes() (left []string) {
	names, _ := filepath.Glob("/proc/[0-9]*") // no further: that would list each of these directories
	for _, name := range names {
		line, _ := os.ReadFile(name + "/cmdline") // processes come and go
		status, _ := os.ReadFile(name + "/status")
		if strings.HasPrefix(string(line), "tranquil-transform-sandbox") && strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", v.Agent.PID())) {
			left = append(left, name)
		}
	}
	return left
}

// files are those beside and above what agent, backend and component keep for
// themselves, and those of the directory from which all were started.
func (v *attacked) files() (all []string) {
	v.Helper()
	for _, dir := range []string{v.Dir, filepath.Join(v.Dir, "agent"), filepath.Dir(v.Control()), "."} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			v.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "compiled" { // appears with the first transform
				all = append(all, filepath.Join(dir, e.Name()))
			}
		}
	}
	return all
}

// peak notes the largest memory that the agent has had.
func (v *attacked) peak() {
	v.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.Agent.PID()))
	if err != nil {
		v.Fatal(err)
	}
	var kilobytes int64
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes)
	}
	v.highest = max(v.highest, kilobytes<<10)
	if kilobytes == 0 || v.highest > budget {
		v.Errorf("the agent has had %d MB, its budget is %d MB", v.highest>>20, budget>>20)
	}
}

// report logs what was measured. How fast answers come depends on what else the
// machine has to do: that none takes as long as an attack is all that must hold.
func (v *attacked) report() {
	v.Helper()
	slices.Sort(v.answers)
	n := len(v.answers)
	p95 := v.answers[n*95/100]
	v.Logf("%d answers during %d attacks: median %v, 95 %% within %v, slowest %v; the agent's memory was %d MB at most",
		n, len(attacks), v.answers[n/2], p95, v.answers[n-1], v.highest>>20)
	if p95 > 5*time.Second {
		v.Errorf("95 %% of the agent's answers took up to %v", p95)
	}
}

// Each class of failure is among the attacks.
func TestAttacks(t *testing.T) {
	corpus := hostile.Corpus(t)
	classes := map[string]bool{}
	for _, attack := range corpus {
		classes[attack.Class] = true
	}
	for _, name := range attacks {
		delete(classes, corpus[name].Class)
	}
	if len(classes) > 0 {
		t.Errorf("no attack ends in %v", slices.Collect(maps.Keys(classes)))
	}
}
