package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// classes are all ways in which a transform can fail.
var classes = []host.Class{
	host.BadModule, host.Refused, host.Exit, host.Trap, host.StackOverflow, host.Deadline,
	host.OutputLimit, host.ResourceLimit, host.Invalid, host.Crash,
}

// Whatever a transform does wrong, the operator reads it in one line, and the
// component has not stopped: it failed in the rehearsal, or before the
// sandbox was ready.
func TestCauseOfATransform(t *testing.T) {
	p := build(t, "1m")
	for _, class := range classes {
		bad := &host.Error{Class: class, Edge: "1→2", File: "log.ndjson", Code: 3, Reason: "because", Log: "first\nlast"}
		for step, fail := range map[string]func(*world, *Engine){
			"rehearse": func(w *world, _ *Engine) { w.refuse = bad },
			"announce": func(_ *world, e *Engine) { e.Ready = func(context.Context, string, []host.Step) error { return bad } },
		} {
			w, e := newWorld(t, p)
			fail(w, e)
			o, err := w.update(t, e, "2.0.0")
			if err != nil {
				t.Fatal(err)
			}
			w.check(t, o)
			if o.Result != Refused || o.Step != step || o.Downtime != 0 {
				t.Errorf("%s: %+v", class, o)
			}
			want := "transform 1→2 of log.ndjson: " + string(class)
			if !strings.Contains(o.Cause, want) || !strings.HasSuffix(o.Cause, ": because") || strings.Contains(o.Cause, "\n") || len(o.Cause) > 4096 {
				t.Errorf("the cause is %q, want %q in it", o.Cause, want)
			}
		}
	}
}

// Another snapshot is only taken if a torn one can have made the transform
// fail: each try of one that runs into a limit takes as long as the limit.
func TestTriesOfARehearsal(t *testing.T) {
	p := build(t, "1m")
	for _, class := range classes {
		want := 3
		switch class {
		case host.BadModule, host.Deadline, host.OutputLimit, host.ResourceLimit:
			want = 1
		}
		w, e := newWorld(t, p)
		w.refuse = fmt.Errorf("cannot refresh: %w", &host.Error{Class: class})
		o, err := w.update(t, e, "2.0.0")
		if err != nil || o.Result != Refused || w.refused != want || !strings.Contains(o.Cause, string(class)) {
			t.Errorf("%s: tried %d times, want %d: %+v, %v", class, w.refused, want, o, err)
		}
	}
}

// Without a sandbox that waits the update goes on, and takes longer.
func TestNotReady(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	asked := 0
	e.Ready = func(_ context.Context, _ string, steps []host.Step) error {
		asked += len(steps)
		if w.running == "" || w.quiet {
			t.Error("the component is away already")
		}
		return errors.New("no process")
	}
	o, err := w.update(t, e, "2.0.0")
	if err != nil || o.Result != Updated || asked != 1 {
		t.Errorf("%+v, %v, asked for %d", o, err, asked)
	}
	w.check(t, o)
}

// A schema that is a layer of its package is fetched, kept for the way back,
// brought back when it is lost, and held against its digest before it is used.
// The limits that the package declares reach the sandbox as well.
func TestSchemaLayer(t *testing.T) {
	schema := `{"description":"` + strings.Repeat("x", 40<<10) + `"}`
	p := build(t, "1m")
	p["2.0.0"] = layout(t, "2.0.0", "[probe]\nprobation = \"1ms\"\n[state]\nschema = 2\n"+
		"[[transform]]\nfrom = 1\nto = 2\nlossy = true\nmodule = \"t.wasm\"\nformat = \"json\"\nschema = \"schema.json\"\nlimits = { memory = 1048576, cpu = \"5s\" }\n", schema)
	w, e := newWorld(t, p)
	e.Ready = func(_ context.Context, _ string, steps []host.Step) error {
		if want := (host.Limits{Memory: 1 << 20, CPU: 5 * time.Second}); len(steps) != 1 || string(steps[0].Schema) != schema || steps[0].Limits != want {
			t.Errorf("got %d steps: %+v", len(steps), steps[0].Limits)
		}
		return nil
	}
	o, err := w.update(t, e, "2.0.0")
	if err != nil || o.Result != Updated {
		t.Fatalf("%+v, %v", o, err)
	}
	w.check(t, o)
	blob := p["2.0.0"].Package.Transforms[0].SchemaBlob.Digest
	path, err := w.content.Path(blob)
	if err != nil {
		t.Fatal("the schema is gone", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Describe(t.Context(), component, w.installed); err != nil {
		t.Fatal(err)
	}
	if path, err = w.content.Path(blob); err != nil {
		t.Fatal("the schema is not brought back", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(schema, "xx", "xy", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	u := Update{From: Installed{Version: "1.0.0", Schema: 1}, To: w.installed}
	if _, err := e.plan(&u); !errors.Is(err, pack.ErrDigest) {
		t.Errorf("a damaged schema: %v", err)
	}
}
