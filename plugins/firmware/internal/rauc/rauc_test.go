package rauc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
	"github.com/tranquil-iot/tranquil/sdk/updater/updatertest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	var machines sync.Map // by env.Run
	updatertest.Run(t, updatertest.Suite{
		Type: Type,
		Open: open,
		Boot: func(t testing.TB, env updater.Environment) {
			if m, is := machines.Load(env.Run); is {
				m.(*machine).boot()
				return
			}
			machines.Store(env.Run, newMachine(t, env.Run, fmt.Sprintf(statusFile, t.TempDir())))
		},
		Artifact: func(t testing.TB, version string) updatertest.Artifact {
			return updatertest.Artifact{Path: bundle(t, version, "ours", "test-device"), MediaType: pack.MediaTypeRaw}
		},
		Running: func(_ testing.TB, env updater.Environment, _ string) string {
			m, _ := machines.Load(env.Run)
			return m.(*machine).runs()
		},
		Ready: time.Minute,
	})
}

const name = "firmware/os"

// A rig is an updater in process, on a machine of its own.
type rig struct {
	*machine
	u   *Updater
	ctx context.Context
	run string
}

func newRig(t *testing.T, options string) *rig {
	t.Helper()
	run, err := os.MkdirTemp("", "r") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	if options == "" {
		options = fmt.Sprintf(statusFile, t.TempDir())
	}
	r := &rig{machine: newMachine(t, run, options), ctx: t.Context(), run: run}
	u, err := open(updater.Environment{Data: t.TempDir(), Run: run, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	r.must(err)
	r.u = u.(*Updater)
	return r
}

func (r *rig) tryStage(version, bundle, settings string) (updater.Handle, error) {
	a, err := r.u.Stage(r.ctx, updater.StageRequest{
		Component: name, Version: version, Artifact: bundle, MediaType: pack.MediaTypeRaw, Settings: []byte(settings),
	})
	return a.Handle, err
}

// stage stages a bundle with a content, which is a version or "broken".
func (r *rig) stage(version, content string) updater.Handle {
	r.Helper()
	h, err := r.tryStage(version, bundle(r, content, "ours", "test-device"), "")
	r.must(err)
	return h
}

func (r *rig) trySwitch(h updater.Handle) error {
	return r.u.Switch(r.ctx, updater.SwitchRequest{Component: name, Handle: h})
}

// asks wants an error that asks for a boot, and boots.
func (r *rig) asks(err error) {
	r.Helper()
	if !errors.Is(err, updater.ErrReboot) {
		r.Fatalf("error %v, want one that asks for a boot", err)
	}
	r.boot()
}

// install has the device run a content.
func (r *rig) install(version string) updater.Handle {
	r.Helper()
	h := r.stage(version, version)
	r.asks(r.trySwitch(h))
	r.must(r.trySwitch(h))
	r.must(r.u.Start(r.ctx, updater.StartRequest{Component: name}))
	r.is(version)
	return h
}

// is checks what runs, and that the status says so.
func (r *rig) is(version string) {
	r.Helper()
	a, err := r.u.Status(r.ctx, updater.StatusRequest{Component: name})
	r.must(err)
	if got := r.runs(); got != version || a.Version != version || a.Running != (version != "") {
		r.Errorf("%q runs, and the status is %+v; want %q", got, a, version)
	}
}

// loader checks what the boot loader has for both slots, and which is its first.
func (r *rig) loader(want string) {
	r.Helper()
	if got := r.read("loader/primary") + " " + r.read("loader/A") + " " + r.read("loader/B"); got != want {
		r.Errorf("the boot loader has %q, want %q", got, want)
	}
}

func (r *rig) fails(err error, text string) {
	r.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		r.Errorf("error %v, want one with %q", err, text)
	}
}

func (r *rig) probe() updater.ProbeResponse {
	r.Helper()
	a, err := r.u.Probe(r.ctx, updater.ProbeRequest{Component: name})
	r.must(err)
	return a
}

// TestRefused: RAUC does not write what is not meant for this device, and the
// operator reads why.
func TestRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	for _, c := range []struct{ name, bundle, settings, text string }{
		{"tampered", tampered(t), "", "signature verification failed"},
		{"signed by others", bundle(t, "1.0.0", "theirs", "test-device"), "", "signature verification failed"},
		{"for another device", bundle(t, "1.0.0", "ours", "other-device"), "", "Compatible mismatch"},
		{"no bundle", r.path("system.conf"), "", "RAUC does not install it"},
		{"misspelt settings", bundle(t, "1.0.0", "ours", "test-device"), `{"helth":{}}`, "unknown field"},
		{"empty health command", bundle(t, "1.0.0", "ours", "test-device"), `{"health":{"command":[]}}`, "name the program to run"},
	} {
		_, err := r.tryStage("1.0.0", c.bundle, c.settings)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.text)
		}
		r.must(r.u.Unstage(r.ctx, updater.UnstageRequest{Component: name, Version: "1.0.0"}))
		if got := r.read("B"); got != "" {
			t.Errorf("%s: slot B has %q", c.name, got)
		}
	}
	_, err := r.u.Stage(r.ctx, updater.StageRequest{Component: name, Version: "1.0.0", Artifact: r.path("A"), MediaType: pack.MediaTypeArtifact})
	r.fails(err, "raw = true")
	r.boot()
	r.is("")
}

// TestBootFallsBack: a version that does not boot turns back, gets no second trial
// unasked, and one that does may follow.
func TestBootFallsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	v1 := r.install("1.0.0")
	r.must(r.u.Confirm(r.ctx, updater.ConfirmRequest{Component: name}))
	h := r.stage("2.0.0", "broken")
	r.asks(r.trySwitch(h))
	r.fails(r.trySwitch(h), "the boot loader went back")
	r.is("1.0.0")
	r.loader("B bad good")
	r.fails(r.trySwitch(h), "stage the version again")
	r.must(r.trySwitch(v1))
	r.must(r.u.Start(r.ctx, updater.StartRequest{Component: name}))
	r.must(r.u.Unstage(r.ctx, updater.UnstageRequest{Component: name, Version: "2.0.0", Handle: h}))
	if !r.probe().Healthy {
		t.Error("the version before is not healthy")
	}
	r.install("2.0.0")
}

// TestProbation: a version that is not well goes, and the boot loader does not go
// back to it; one that has proven itself is marked good, and not before.
func TestProbation(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	well := filepath.Join(t.TempDir(), "well")
	h, err := r.tryStage("1.0.0", bundle(t, "1.0.0", "ours", "test-device"), `{"health":{"command":["test","-f","`+well+`"]}}`)
	r.must(err)
	r.asks(r.trySwitch(h))
	r.must(r.trySwitch(h))
	if a := r.probe(); a.Healthy || !strings.Contains(a.Reason, "health command test") {
		t.Errorf("not well: %+v", a)
	}
	r.asks(r.trySwitch(updater.Handle{}))
	r.must(r.trySwitch(updater.Handle{}))
	r.is("")
	r.loader("A good bad")

	r.must(os.WriteFile(well, nil, 0o600))
	r.asks(r.trySwitch(h))
	r.must(r.trySwitch(h))
	if a := r.probe(); !a.Healthy {
		t.Errorf("well: %+v", a)
	}
	confirmed := func() bool { return strings.Contains(r.all("loader/log"), "set-state B good") }
	if confirmed() {
		t.Error("it is marked good before it was confirmed")
	}
	r.must(r.u.Confirm(r.ctx, updater.ConfirmRequest{Component: name}))
	if !confirmed() {
		t.Error("it is not marked good")
	}
}

func (m *machine) all(name string) string {
	data, _ := os.ReadFile(m.path(name))
	return string(data)
}

// TestCancelledBeforeTheBoot: nothing of a version runs that was taken back in time.
func TestCancelledBeforeTheBoot(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	h := r.stage("1.0.0", "1.0.0")
	for range 2 {
		if err := r.trySwitch(h); !errors.Is(err, updater.ErrReboot) {
			t.Fatal(err)
		}
	}
	r.must(r.trySwitch(updater.Handle{}))
	r.loader("A good bad")
	r.boot()
	r.is("")
}

// TestActivatedByRAUC: what RAUC was only asked to write is not what boots, also if
// the power fails while nobody waits for RAUC, which then chooses it by itself.
func TestActivatedByRAUC(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	h := r.stage("1.0.0", "1.0.0")
	r.loader("A good good")
	d, err := r.u.look(r.ctx, name)
	r.must(err)
	defer d.rauc.close()
	_, err = d.write(r.ctx, bundle(t, "2.0.0", "ours", "test-device"))
	r.must(err)
	r.loader("B good good")
	r.boot()
	for _, undo := range []bool{false, true} { // the way back asks as well
		if _, err = r.tryStage("2.0.0", bundle(t, "2.0.0", "ours", "test-device"), ""); undo {
			err = r.u.Unstage(r.ctx, updater.UnstageRequest{Component: name, Version: "2.0.0"})
		}
		if !errors.Is(err, updater.ErrReboot) {
			t.Fatalf("undo %v: error %v, want one that asks for a boot", undo, err)
		}
	}
	r.boot()
	r.is("")
	r.fails(r.trySwitch(h), "does not hold")
	r.install("2.0.0")
}

// TestGoesBackLater: what a boot loader does after all was confirmed is seen, and
// the next version is written over the one that was left.
func TestGoesBackLater(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.install("1.0.0")
	r.must(r.u.Confirm(r.ctx, updater.ConfirmRequest{Component: name}))
	r.install("2.0.0")
	r.must(r.u.Confirm(r.ctx, updater.ConfirmRequest{Component: name}))
	r.loader("A good good")
	r.write("loader/A", "bad\n")
	r.boot()
	r.is("1.0.0")
	if a := r.probe(); a.Healthy {
		t.Errorf("%+v", a)
	}
	if err := r.u.Start(r.ctx, updater.StartRequest{Component: name}); !errors.Is(err, updater.ErrReboot) {
		t.Error(err)
	}
	r.install("3.0.0")
}

// TestReboots: the device is rebooted by the operator's command, but not again and
// again for a version that does not boot.
func TestReboots(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	count := filepath.Join(t.TempDir(), "count")
	r.u.config.Reboot = []string{"sh", "-c", "echo x >>" + count}
	for range 2 {
		h := r.stage("2.0.0", "broken")
		r.asks(r.trySwitch(h))
		r.fails(r.trySwitch(h), "the boot loader went back")
	}
	if data, _ := os.ReadFile(count); string(data) != "x\n" {
		t.Errorf("it was to reboot %d times", strings.Count(string(data), "x"))
	}
}

// TestRAUCAway: as long as RAUC does not run, calls may come again.
func TestRAUCAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	h := r.stage("1.0.0", "1.0.0")
	r.end(r.service)
	if err := r.trySwitch(h); !errors.Is(err, updater.ErrRetry) {
		t.Errorf("without RAUC: %v", err)
	}
	r.boot()
	r.asks(r.trySwitch(h))
	r.must(r.trySwitch(h))
}

// TestRAUCDies: so may an installation in which RAUC ends.
func TestRAUCDies(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	d, err := r.u.look(r.ctx, name)
	r.must(err)
	defer d.rauc.close()
	err = d.rauc.install(r.ctx, bundle(t, "1.0.0", "ours", "test-device"), func(int32, string) { r.end(r.service) })
	if err != nil && !errors.Is(err, updater.ErrRetry) {
		t.Error(err)
	}
	r.boot()
	r.install("1.0.0")
}

// TestNoStatusFile: without notes of its own RAUC cannot tell after a boot what it
// has written, and nobody may run that.
func TestNoStatusFile(t *testing.T) {
	t.Parallel()
	r := newRig(t, "# none\n")
	h := r.stage("1.0.0", "1.0.0")
	r.asks(r.trySwitch(h))
	r.fails(r.trySwitch(h), "set statusfile")
	r.asks(r.trySwitch(updater.Handle{}))
	r.must(r.trySwitch(updater.Handle{}))
	r.is("")
}

// TestStays: what runs is neither removed nor written again, and what was
// overwritten cannot come back.
func TestStays(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	h := r.install("1.0.0")
	r.fails(r.u.Unstage(r.ctx, updater.UnstageRequest{Component: name, Version: "1.0.0", Handle: h}), "switch to another first")
	if again := r.stage("1.0.0", "1.0.0"); string(again.Data) != string(h.Data) {
		t.Errorf("staged again it is %s, was %s", again.Data, h.Data)
	}
	r.fails(r.trySwitch(updater.Handle{Version: 2}), "stage the version again")
	r.stage("2.0.0", "2.0.0")
	r.fails(r.trySwitch(updater.Handle{}), "was overwritten")
	r.is("1.0.0")
}

func TestOtherComponents(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.stage("1.0.0", "1.0.0")
	for _, component := range []string{"firmware/radio", "application/os"} {
		if _, err := r.u.Status(r.ctx, updater.StatusRequest{Component: component}); err == nil {
			t.Errorf("%s has a status", component)
		}
	}
}

func TestConfig(t *testing.T) {
	for content, text := range map[string]string{
		`{"reboot":["/sbin/reboot"]}`: "",
		`{}`:                          "",
		`{"reboot":[]}`:               "name the program to run",
		`{"boot":1}`:                  "unknown field",
	} {
		file := filepath.Join(t.TempDir(), "firmware.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readConfig(file); (err != nil) != (text != "") || err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", content, err, text)
		}
	}
	if _, err := readConfig("/nowhere"); err != nil {
		t.Error(err)
	}
}
