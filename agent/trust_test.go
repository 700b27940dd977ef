package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/fetch"
	"github.com/tranquil-iot/tranquil/agent/internal/store"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
	"github.com/tranquil-iot/tranquil/sdk/trust/trusttest"
)

// greeter is the package of that name as the engine has it.
func greeter(p trust.Package, epoch int) *pack.Package {
	return &pack.Package{Digest: p.Digest, Size: p.Size, Manifest: pack.Manifest{Type: "application", Name: "greeter", Version: p.Version, Epoch: epoch}}
}

// trusting is an agent that asks a world.
func trusting(t *testing.T, w *trusttest.World, clock trust.Clock) *agent {
	t.Helper()
	c, err := trust.Open(trust.Config{Dir: t.TempDir(), Root: w.FirstRoot(), Fetch: w.Fetch, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return &agent{trust: c, log: slog.New(slog.DiscardHandler)}
}

func TestVouch(t *testing.T) {
	w := trusttest.New(t)
	second := trusttest.PackageOf("2.0.0")
	from := func(version string, previous *engine.Previous) engine.Update {
		return engine.Update{Component: trusttest.Greeter, From: engine.Installed{Version: version, Previous: previous}}
	}
	a := trusting(t, w, w.Clock())
	if doubt, err := a.vouch(t.Context(), from("", nil), greeter(w.Good, 1)); doubt != "" || err != nil {
		t.Fatalf("%q, %v", doubt, err)
	}
	if _, err := a.vouch(t.Context(), from("1.0.0", nil), greeter(second, 1)); !errors.Is(err, trust.ErrUnlisted) {
		t.Errorf("what nobody has signed for: %v", err)
	}
	if err := a.trust.Installed(trusttest.Greeter, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := a.vouch(t.Context(), from("", nil), greeter(w.Good, 0)); !errors.Is(err, trust.ErrRollback) {
		t.Errorf("an epoch of before the removal: %v", err)
	}

	w.Silence()
	if doubt, err := a.vouch(t.Context(), from("0.9.0", nil), greeter(w.Good, 1)); doubt == "" || err != nil {
		t.Errorf("a higher version without a network: %q, %v", doubt, err)
	}
	if _, err := a.vouch(t.Context(), from("1.1.0", nil), greeter(w.Good, 1)); err == nil || !strings.Contains(err.Error(), "cannot go down") {
		t.Errorf("a lower version without a network: %v", err)
	}
	w.Now = w.Now.Add(trust.TimestampGood + time.Hour)
	if _, err := a.vouch(t.Context(), from("0.9.0", nil), greeter(w.Good, 1)); !errors.Is(err, trust.ErrExpired) {
		t.Errorf("a higher version after two days without a network: %v", err)
	}
	back := from("1.1.0", &engine.Previous{Digest: w.Good.Digest})
	if doubt, err := a.vouch(t.Context(), back, greeter(w.Good, 1)); doubt == "" || err != nil {
		t.Errorf("the version before without a network: %q, %v", doubt, err)
	}
	w.Behave()
	if _, err := a.vouch(t.Context(), back, greeter(w.Good, 1)); !errors.Is(err, trust.ErrExpired) {
		t.Errorf("the version before, of a server that stands still: %v", err)
	}
	w.Silence()
	var again engine.Retry
	if _, err := trusting(t, w, w.Clock()).vouch(t.Context(), from("", nil), greeter(w.Good, 1)); !errors.As(err, &again) {
		t.Errorf("a device that knows nothing yet: %v", err)
	}
}

// Without a root everything may be installed, and each outcome says so until
// somebody has decided.
func TestVouchWithoutRoot(t *testing.T) {
	for unsigned, want := range map[bool]string{false: noRoot, true: ""} {
		a := &agent{config: config{Trust: trustConfig{Unsigned: unsigned}}}
		if doubt, err := a.vouch(t.Context(), engine.Update{}, greeter(trusttest.PackageOf("1.0.0"), 0)); doubt != want || err != nil {
			t.Errorf("unsigned = %v: %q, %v", unsigned, doubt, err)
		}
	}
	if err := (trustConfig{Root: "root.json", Unsigned: true}).check(); err == nil {
		t.Error("both are taken")
	}
}

// TestTrustOutOfOrder: an agent with a root that it cannot use starts and installs
// nothing, until somebody has seen to it.
func TestTrustOutOfOrder(t *testing.T) {
	w := trusttest.New(t)
	root, data := filepath.Join(t.TempDir(), "root.json"), t.TempDir()
	a := keeping(t, data)
	a.config.Trust = trustConfig{Root: root}
	a.fetcher = &fetch.Fetcher{}
	for _, step := range []struct {
		prepare func() error
		want    string
	}{
		{func() error { return nil }, "cannot read trust.root"},
		{func() error { return os.WriteFile(root, []byte("{}"), 0o644) }, "cannot use root metadata"},
		{func() error {
			dir := filepath.Join(data, "trust")
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600))
		}, "no package can be trusted"},
		{func() error { return os.WriteFile(root, w.FirstRoot(), 0o644) }, "cannot keep what is trusted"},
	} {
		if err := step.prepare(); err != nil {
			t.Fatal(err)
		}
		a.checkTrust()
		if _, err := a.vouch(t.Context(), engine.Update{}, greeter(w.Good, 0)); err == nil || !strings.Contains(err.Error(), step.want) {
			t.Errorf("error %v, want %q", err, step.want)
		}
	}
	if err := os.Remove(filepath.Join(data, "trust")); err != nil {
		t.Fatal(err)
	}
	if client, err := a.trusted(); client == nil || err != nil {
		t.Errorf("in order again: %v", err)
	}
}

// keeping is an agent with a store.
func keeping(t *testing.T, data string) *agent {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(filepath.Join(data, "store"), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &agent{config: config{Data: data, Components: []string{trusttest.Greeter}}, store: s, log: log}
}

// TestVouchWithoutNews: what the device knows of a package does not count less when
// nobody can be asked.
func TestVouchWithoutNews(t *testing.T) {
	older, newer := trusttest.PackageOf("2.0.0"), trusttest.PackageOf("2.1.0")
	before := func(p trust.Package) engine.Update {
		return engine.Update{Component: trusttest.Greeter, From: engine.Installed{Version: "2.1.0", Previous: &engine.Previous{Version: p.Version, Digest: p.Digest}}}
	}
	for name, test := range map[string]struct {
		happens func(w *trusttest.World)
		update  engine.Update
		to      trust.Package
		want    error // nil: it is installed
	}{
		"back":                     {func(*trusttest.World) {}, before(older), older, nil},
		"back, for a long time":    {func(w *trusttest.World) { w.Now = w.Now.Add(30 * 24 * time.Hour) }, before(older), older, nil},
		"back to the withdrawn":    {func(w *trusttest.World) { w.Withdraw(older) }, before(older), older, trust.ErrUnlisted},
		"back, of a replaced key":  {func(w *trusttest.World) { w.ReplaceAlice() }, before(older), older, trust.ErrRollback},
		"back to the never signed": {func(*trusttest.World) {}, before(trusttest.PackageOf("6.6.6")), trusttest.PackageOf("6.6.6"), trust.ErrUnlisted},
		"lower, after a removal": {
			func(*trusttest.World) {},
			engine.Update{Component: trusttest.Greeter, From: engine.Installed{Previous: &engine.Previous{Version: "2.1.0", Digest: newer.Digest}}},
			older, errDown,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := trusttest.New(t)
			w.Endorse(older, newer)
			a := trusting(t, w, w.Clock())
			_, err := a.vouch(t.Context(), engine.Update{Component: trusttest.Greeter}, greeter(newer, 0))
			if err != nil {
				t.Fatal(err)
			}
			test.happens(w)
			_, _ = a.vouch(t.Context(), engine.Update{Component: trusttest.Greeter}, greeter(newer, 0)) // the device hears of it
			w.Silence()
			if doubt, err := a.vouch(t.Context(), test.update, greeter(test.to, 0)); !errors.Is(err, test.want) || err == nil && doubt == "" {
				t.Errorf("%q, %v; want %v", doubt, err, test.want)
			}
		})
	}
}

// TestEpochs: the security epoch of whatever was installed stays noted, also of
// before the device had a root, and of what was removed.
func TestEpochs(t *testing.T) {
	w := trusttest.New(t)
	a := keeping(t, t.TempDir())
	commit := func(to engine.Installed) error { return inventory{a.store, a.trusted}.Commit(trusttest.Greeter, to) }
	refused := func(when string) {
		t.Helper()
		if _, err := a.vouch(t.Context(), engine.Update{Component: trusttest.Greeter}, greeter(w.Good, 0)); !errors.Is(err, trust.ErrRollback) {
			t.Errorf("%s: %v", when, err)
		}
	}
	if err := commit(engine.Installed{Version: "2.0.0", Epoch: 5}); err != nil {
		t.Fatal(err)
	}
	a.config.Trust.Root = filepath.Join(t.TempDir(), "root.json")
	a.fetcher = &fetch.Fetcher{}
	removed := engine.Installed{Previous: &engine.Previous{Version: "2.0.0", Epoch: 5}}
	if err := commit(removed); err != nil { // nobody can note it now
		t.Fatal(err)
	}
	if err := os.WriteFile(a.config.Trust.Root, w.FirstRoot(), 0o644); err != nil {
		t.Fatal(err)
	}
	a.checkTrust()
	refused("of before the root")
	if err := commit(engine.Installed{Version: "3.0.0", Epoch: 6}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(a.config.Data, "trust")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := commit(engine.Installed{Version: "4.0.0", Epoch: 7}); err == nil {
		t.Error("an epoch is lost in silence")
	}
	if i, err := a.store.Installed(trusttest.Greeter); err != nil || i.Version != "3.0.0" {
		t.Errorf("installed %+v, %v", i, err)
	}
}
