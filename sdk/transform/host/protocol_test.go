package host

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/sdk/transform/host/internal/cage"
)

// The names of files reach the sandbox byte by byte, whatever is in them.
func TestJobKeepsBytes(t *testing.T) {
	host, child, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	sandbox, err := fileConn(child)
	if err != nil {
		t.Fatal(err)
	}
	defer sandbox.Close()
	step := Step{From: 1, To: 2, Params: map[string]string{"p": "\xfe<&>\u2028"}}
	env, err := step.env("bad\xff.json")
	if err != nil {
		t.Fatal(err)
	}
	want := job{Args: step.args("bad\xff.json"), Env: env, Output: 7}
	if err := send(host, want); err != nil {
		t.Fatal(err)
	}
	var got job
	if _, err := receive(sandbox, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLongParams: what passes the check fits into a message, with a file of the
// longest name; what does not is refused before anything starts.
func TestLongParams(t *testing.T) {
	step := Step{From: 1, To: 2, Params: map[string]string{}}
	for i := range 64 { // so many a package may have
		name := fmt.Sprintf("%s%02d", strings.Repeat("n", 61), i)
		step.Params[name] = strings.Repeat("v", maxParams/64-len(name))
	}
	must(t, step.check())
	host, child, err := socketPair()
	must(t, err)
	defer host.Close()
	defer child.Close()
	file := strings.Repeat("f", 4095)
	env, err := step.env(file)
	must(t, err)
	if err := send(host, job{Args: step.args(file), Env: env}); err != nil {
		t.Error(err)
	}
	step.Params = map[string]string{}
	for i := range 5 {
		step.Params[fmt.Sprint("p", i)] = strings.Repeat("v", 32<<10)
	}
	if e := failed(t, step.check()); e.Class != BadModule || !strings.Contains(e.Reason, "params") {
		t.Errorf("got %v", e)
	}
}

// TestTame: what a sandbox says that was taken over is short and harmless.
func TestTame(t *testing.T) {
	got := outcome{Class: "all is well", Reason: "one\x1b[2J\ntwo", Uncached: strings.Repeat("x", 1000)}.tame()
	if got.Class != Crash || strings.ContainsAny(got.Reason, "\n\x1b") || len(got.Uncached) > 300 {
		t.Errorf("got %+v", got)
	}
	for range mostMissing + 1 {
		got.Missing = append(got.Missing, cage.Missing{Layer: "a\x1b", Why: strings.Repeat("x", 1000)})
	}
	got.Memory = -1
	if got = got.tame(); len(got.Missing) != mostMissing || len(got.Missing[0].Why) > 300 || strings.Contains(got.Missing[0].Layer, "\x1b") || got.Memory != 0 {
		t.Errorf("got %+v", got)
	}
	for _, class := range append(classes, "") {
		if got := (outcome{Class: class}).tame(); got.Class != class {
			t.Errorf("%q became %q", class, got.Class)
		}
	}
}

// Whatever a sandbox answers is an outcome that can be passed on, or none.
func FuzzOutcome(f *testing.F) {
	f.Add([]byte(`{"Class":"trap","Reason":"unreachable","Memory":65536}`))
	f.Add([]byte(`{"Class":"state refused","Code":2,"Missing":[{"Layer":"landlock","Why":"no\u001b"}],"Uncached":"\ud800","Memory":-9223372036854775808}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		host, child, err := socketPair()
		must(t, err)
		defer host.Close()
		sandbox, err := fileConn(child)
		must(t, err)
		defer sandbox.Close()
		if _, err := sandbox.Write(answer); err != nil || len(answer) == 0 {
			return
		}
		var o outcome
		if _, err := receive(host, &o); err != nil {
			return
		}
		o = o.tame()
		if o.Class != "" && !slices.Contains(classes, o.Class) || o.Memory < 0 {
			t.Errorf("got %+v", o)
		}
		for _, text := range []string{o.Reason, o.Note, o.Uncached, fmt.Sprint(o.Missing)} {
			if strings.ContainsAny(text, "\n\x1b") || len(text) > 2*mostMissing*1000 {
				t.Errorf("got %q", text)
			}
		}
	})
}
