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

func TestOpenTrust(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root.json")
	if err := os.WriteFile(root, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{root: "cannot use root metadata", root + ".missing": "cannot read trust.root"} {
		a := &agent{config: config{Data: t.TempDir(), Trust: trustConfig{Root: path}}, fetcher: &fetch.Fetcher{}, log: slog.New(slog.DiscardHandler)}
		if _, err := a.openTrust(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
