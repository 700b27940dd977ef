package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
	"github.com/tranquil-iot/tranquil/agent/internal/delivery"
	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/manager"
	"github.com/tranquil-iot/tranquil/agent/internal/sideload"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
	"github.com/tranquil-iot/tranquil/sdk/trust/trusttest"
)

// remote is an agent without a network.
func remote(t *testing.T, w *trusttest.World) *agent {
	t.Helper()
	a := keeping(t, t.TempDir())
	a.trust = open(t, w, func(context.Context, string, int64) ([]byte, error) { return nil, trust.ErrUnreachable })
	var err error
	if a.content, err = content.Open(filepath.Join(a.config.Data, "content"), 0); err != nil {
		t.Fatal(err)
	}
	a.manager = manager.New(manager.Config{
		Components: a.config.Components, Memory: a.store, Journal: a.store.Load, Log: a.log,
		Fault: func() string { return "" }, Repaired: a.store, Changed: func(string) {},
	})
	a.desk = delivery.New(delivery.Config{
		Book: a.manager, Content: a.content, Judge: judge, Platform: pack.Platform{OS: "linux", Arch: "arm", Variant: "v7"}, Log: a.log,
		Collect: func(context.Context, string) error { _, err := a.content.Collect(nil); return err },
	})
	t.Cleanup(a.desk.Close)
	return a
}

// open has a device of that world trust what fetch brings.
func open(t *testing.T, w *trusttest.World, fetch trust.Fetch) *trust.Client {
	t.Helper()
	c, err := trust.Open(trust.Config{Dir: t.TempDir(), Root: w.FirstRoot(), Clock: w.Clock(), Fetch: fetch})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A parcel is a package file with what is beside it.
type parcel struct {
	name, version, os string
	epoch             int
}

// pack builds the package of a parcel into a new directory.
func (p parcel) pack(t *testing.T) (dir string, built *pack.Package) {
	t.Helper()
	source, dir := t.TempDir(), t.TempDir()
	recipe := fmt.Sprintf("type = \"application\"\nname = %q\nversion = %q\nepoch = %d\n[[artifact]]\npath = \"tranquil.toml\"\nos = %q\n", p.name, p.version, p.epoch, p.os)
	if err := os.WriteFile(filepath.Join(source, pack.RecipeFile), []byte(recipe), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := pack.ReadRecipe(source)
	if err == nil {
		built, _, err = r.BuildFile(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, built
}

// vouched puts beside a package what a device in that world needs to judge it.
func vouched(t *testing.T, w *trusttest.World, dir string) {
	t.Helper()
	beside := filepath.Join(dir, "trust")
	if err := os.Mkdir(beside, 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := trust.Open(trust.Config{Dir: t.TempDir(), Root: w.FirstRoot(), Clock: w.Clock(), Fetch: func(ctx context.Context, name string, limit int64) ([]byte, error) {
		b, err := w.Fetch(ctx, name, limit)
		if err == nil {
			err = os.WriteFile(filepath.Join(beside, name), b, 0o600)
		}
		return b, err
	}})
	if err == nil {
		_, err = c.Verify(t.Context(), w.Good)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// load is a stick on its way to the agent.
func load(t *testing.T, dir string) []byte {
	t.Helper()
	stick, err := sideload.Find(dir)
	var b bytes.Buffer
	if err == nil {
		err = stick.Write(&b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSideload: whoever stands at the device stands for the back end, and for
// nobody else. What is refused leaves nothing behind.
func TestSideload(t *testing.T) {
	good := parcel{"greeter", "2.0.0", "linux", 1}
	for name, test := range map[string]struct {
		parcel  parcel
		unknown bool                                             // Alice has not signed for it
		prepare func(t *testing.T, a *agent, w *trusttest.World) // before the stick is brought, which is made before
		change  func(t *testing.T, dir string)                   // of what is on the stick
		load    func(b []byte) []byte                            // of what the agent receives
		of      string                                           // component that is asked for; "" the greeter
		want    string                                           // "" an update begins
	}{
		"good":                      {parcel: good},
		"nobody has signed":         {parcel: good, unknown: true, want: "alice does not list application/greeter/2.0.0"},
		"no metadata":               {parcel: good, change: without, want: "trust metadata cannot be fetched"},
		"of another company":        {parcel: good, change: another, want: "what came with the package does not vouch for it"},
		"forged metadata":           {parcel: good, change: forged, want: "does not vouch for it"},
		"half of the metadata":      {parcel: good, change: half, want: "does not vouch for it"},
		"a tampered package":        {parcel: good, load: func(b []byte) []byte { return bytes.Replace(b, []byte("\x1f\x8b\x08"), []byte("\x1f\x8b\x09"), 1) }, want: "content does not match its digest"},
		"a package that breaks off": {parcel: good, load: func(b []byte) []byte { return b[:len(b)-3000] }, want: "package cannot be used"},
		"of no component here":      {parcel: good, of: "application/other", want: "this device has no component application/other"},
		"for another component":     {parcel: parcel{"other", "2.0.0", "linux", 1}, want: "it is for application/other"},
		"for other devices":         {parcel: parcel{"greeter", "2.0.0", "plan9", 1}, want: "no artifact"},
		"of a lower epoch": {parcel: parcel{"greeter", "2.0.0", "linux", 0}, prepare: func(t *testing.T, a *agent, _ *trusttest.World) {
			must(t, a.trust.Installed(trusttest.Greeter, 1))
		}, want: "security epoch 0 of the package is below 1"},
		"of a lower version": {parcel: good, prepare: func(t *testing.T, a *agent, _ *trusttest.World) {
			must(t, a.store.Commit(trusttest.Greeter, engine.Installed{Version: "3.0.0", Digest: pack.DigestOf(nil)}))
		}, want: "cannot go down to version 2.0.0"},
		"withdrawn since the stick was made": {parcel: good, prepare: withdrawn, want: "what came with it is older than what this device knows"},
		"an old stick":                       {parcel: good, prepare: heard},
		"known already":                      {parcel: good, prepare: heard, change: without},
		"to a device that wants no signatures": {parcel: good, unknown: true, prepare: func(_ *testing.T, a *agent, _ *trusttest.World) {
			a.trust, a.config.Trust.Unsigned = nil, true
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := trusttest.New(t)
			dir, p := test.parcel.pack(t)
			if !test.unknown && p.Manifest.Name == "greeter" {
				w.Endorse(trust.Of(p))
			}
			vouched(t, w, dir)
			a := remote(t, w)
			if test.prepare != nil {
				test.prepare(t, a, w)
			}
			if test.change != nil {
				test.change(t, dir)
			}
			b := load(t, dir)
			if test.load != nil {
				b = test.load(b)
			}
			of := test.of
			if of == "" {
				of = trusttest.Greeter
			}
			id, err := operator{a}.Sideload(t.Context(), of, bytes.NewReader(b))
			if test.want == "" {
				if err != nil || id == "" || !a.content.Has(p.Digest) || !a.content.Has(p.Artifacts[0].Digest) {
					t.Errorf("update %q: %v", id, err)
				}
				a.unload(engine.View{Component: of, Outcome: &engine.Outcome{Update: id}})
			} else if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("update %q: %v, want %q", id, err, test.want)
			}
			emptied(t, a)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// emptied waits until nothing of a package is on the disk.
func emptied(t *testing.T, a *agent) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		left, err := filepath.Glob(filepath.Join(a.config.Data, "content", "*", "*"))
		if err != nil || len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left behind: %v", left)
		}
	}
}

func without(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "trust"))) }

func another(t *testing.T, dir string) {
	without(t, dir)
	vouched(t, trusttest.New(t), dir)
}

// forged has the author's list name another package.
func forged(t *testing.T, dir string) {
	path := filepath.Join(dir, "trust", "2.alice.json")
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, bytes.Replace(b, []byte("2.0.0"), []byte("2.0.1"), 1), 0o600))
}

func half(t *testing.T, dir string) {
	must(t, os.Remove(filepath.Join(dir, "trust", "2.targets.json")))
}

// heard has the device learn what is new since the stick was made.
func heard(t *testing.T, a *agent, w *trusttest.World) {
	w.Now = w.Now.Add(trust.SnapshotGood)
	w.Refresh()
	must(t, a.trust.Learn(t.Context(), w.Fetch, trusttest.Greeter))
}

func withdrawn(t *testing.T, a *agent, w *trusttest.World) {
	dir, p := parcel{"greeter", "2.0.0", "linux", 1}.pack(t)
	must(t, os.RemoveAll(dir))
	w.Withdraw(trust.Of(p))
	heard(t, a, w)
}

// TestSideloadWaitsOnce: of a stick that has all it takes a file server that is not
// there costs some seconds, once, and not at each step that asks for signatures.
func TestSideloadWaitsOnce(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, dir string)
		asked  int
		within time.Duration // of each; 0: as long as it takes
	}{
		"with all it takes": {func(*testing.T, string) {}, 1, newsWithin},
		"without metadata":  {without, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := trusttest.New(t)
			dir, p := parcel{"greeter", "2.0.0", "linux", 1}.pack(t)
			w.Endorse(trust.Of(p))
			vouched(t, w, dir)
			test.change(t, dir)
			a := remote(t, w)
			asked := 0
			a.trust = open(t, w, func(ctx context.Context, _ string, _ int64) ([]byte, error) {
				asked++
				deadline, has := ctx.Deadline()
				if has != (test.within > 0) || has && time.Until(deadline) > test.within {
					t.Errorf("it is waited until %v", deadline)
				}
				return nil, trust.ErrUnreachable
			})
			_, err := operator{a}.Sideload(t.Context(), trusttest.Greeter, bytes.NewReader(load(t, dir)))
			if (err == nil) != (test.within > 0) {
				t.Fatal(err)
			}
			if err != nil {
				a.sideloads.Store(trusttest.Greeter, brought{})
			}
			for range 2 { // of the update's steps
				a.vouch(t.Context(), engine.Update{Component: trusttest.Greeter}, p)
			}
			if asked != test.asked {
				t.Errorf("asked %d times, want %d", asked, test.asked)
			}
		})
	}
}

// TestSideloadBusy: one update of a component at a time.
func TestSideloadBusy(t *testing.T) {
	w := trusttest.New(t)
	dir, p := parcel{"greeter", "2.0.0", "linux", 1}.pack(t)
	w.Endorse(trust.Of(p))
	vouched(t, w, dir)
	a, b := remote(t, w), load(t, dir)
	if _, err := (operator{a}).Sideload(t.Context(), trusttest.Greeter, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if _, err := (operator{a}).Sideload(t.Context(), trusttest.Greeter, bytes.NewReader(b)); !errors.Is(err, manager.ErrBusy) {
		t.Errorf("a second one: %v", err)
	}
	a.sideloads.Store(trusttest.Greeter, brought{}) // as long as that is judged
	if _, err := (operator{a}).Sideload(t.Context(), trusttest.Greeter, bytes.NewReader(b)); !errors.Is(err, errUnderWay) {
		t.Errorf("beside another: %v", err)
	}
	if _, err := a.content.Collect(nil); err != nil || !a.content.Has(p.Artifacts[0].Digest) {
		t.Errorf("what the first needs is gone: %v", err)
	}
}

// TestSideloadCommand: whoever stands at the device is told what will be, and asked.
func TestSideloadCommand(t *testing.T) {
	dir, _ := parcel{"greeter", "2.0.0", "linux", 1}.pack(t)
	c := agentWith(t, engine.View{Component: trusttest.Greeter, Installed: engine.Installed{Version: "1.0.0"}})
	for _, test := range []struct {
		words     []string
		says, err string
	}{
		{nil, "", "want sideload FILE"},
		{[]string{filepath.Join(dir, "nothing")}, "", "no such file"},
		{[]string{t.TempDir()}, "", "there is no package in"},
		{[]string{dir}, "application/greeter goes from version 1.0.0 to 2.0.0", "not confirmed"},
	} {
		var out bytes.Buffer
		o := options{out: &out, in: io.LimitReader(strings.NewReader("n\n"), 2), config: c}
		err := o.sideload(t.Context(), test.words)
		if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(out.String(), test.says) {
			t.Errorf("%v: %q, %v", test.words, out.String(), err)
		}
	}
	o := options{out: io.Discard, yes: true, config: agentWith(t, engine.View{Component: "application/other"})}
	if err := o.sideload(t.Context(), []string{dir}); err == nil || !strings.Contains(err.Error(), "is for application/greeter: this device has no component") {
		t.Errorf("of another device: %v", err)
	}
}
