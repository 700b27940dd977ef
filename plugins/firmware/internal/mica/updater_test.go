package mica

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/mica"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
	"github.com/tranquil-iot/tranquil/sdk/updater/updatertest"
)

// The test binary is also the updater that the kit launches.
func TestMain(m *testing.M) { updatertest.Main(m, Type, open) }

// open makes an updater on the machine of its environment.
func open(env updater.Environment) (updater.Updater, error) {
	u, err := mica.Maker(New).Open(filepath.Join(env.Run, "mica.json"))(env)
	if err != nil {
		return nil, err
	}
	u.(*Updater).boot = func() string {
		id, _ := os.ReadFile(filepath.Join(env.Run, "boot"))
		return string(id)
	}
	return u, nil
}

// A machine is a stand-in for a Base OS; what it reports is the first line of an image.
type machine struct {
	testing.TB
	run   string
	data  string
	base  *mica.Base
	boots int
}

var standIn = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mica-base")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "mica-base")
	out, err := exec.Command("go", "build", "-o", program, "github.com/tranquil-iot/tranquil/examples/mica-base").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
})

func newMachine(t testing.TB, run string, reboot bool) *machine {
	t.Helper()
	program, err := standIn()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{TB: t, run: run, data: filepath.Join(t.TempDir(), "data")}
	p := exec.Command(program, "-data", m.data, "-password", "sesame")
	m.must(p.Start())
	t.Cleanup(func() { p.Process.Signal(syscall.SIGTERM); p.Wait() })
	var text []byte
	for deadline := time.Now().Add(time.Minute); text == nil; time.Sleep(2 * time.Millisecond) {
		if text, err = os.ReadFile(filepath.Join(m.data, "endpoint.json")); err != nil && time.Now().After(deadline) {
			t.Fatal("the stand-in does not come up")
		}
	}
	config := map[string]any{"user": "admin", "passwordFile": filepath.Join(run, "password"), "reboot": reboot}
	if !reboot {
		config["factory"] = imageOf(t, "factory")
	}
	m.must(json.Unmarshal(text, &config))
	text, err = json.Marshal(config)
	m.must(err)
	m.must(os.WriteFile(filepath.Join(run, "password"), []byte("sesame"), 0o600))
	m.must(os.WriteFile(filepath.Join(run, "mica.json"), text, 0o600))
	m.base, err = mica.Open(filepath.Join(run, "mica.json"))
	m.must(err)
	t.Cleanup(m.base.Close)
	m.booted()
	return m
}

func (m *machine) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// boot has somebody switch the device off and on.
func (m *machine) boot() {
	m.Helper()
	m.must(m.base.Do(m.Context(), mica.Reboot, nil))
	m.booted()
}

// booted gives the boot another identity.
func (m *machine) booted() {
	m.Helper()
	m.boots++
	m.must(os.WriteFile(filepath.Join(m.run, "boot"), fmt.Append(nil, m.boots), 0o600))
}

func (m *machine) runs() (version string) {
	m.Helper()
	m.must(m.base.Do(m.Context(), mica.Firmware, &version))
	return version
}

func imageOf(t testing.TB, lines ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

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
			machines.Store(env.Run, newMachine(t, env.Run, false))
		},
		Artifact: func(t testing.TB, version string) updatertest.Artifact {
			return updatertest.Artifact{Path: imageOf(t, version), MediaType: pack.MediaTypeRaw}
		},
		Running: func(_ testing.TB, env updater.Environment, _ string) string {
			m, _ := machines.Load(env.Run)
			version := m.(*machine).runs()
			if version == "factory" {
				return ""
			}
			return version
		},
	})
}

// A rig is an updater in process, on a machine of its own.
type rig struct {
	*testing.T
	m *machine
	u *Updater
}

func newRig(t *testing.T, reboot bool) rig {
	t.Helper()
	t.Parallel()
	run, err := os.MkdirTemp("", "r") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	m := newMachine(t, run, reboot)
	u, err := open(updater.Environment{Data: t.TempDir(), Run: run, Logger: slog.New(slog.DiscardHandler)})
	m.must(err)
	t.Cleanup(func() { u.(*Updater).Close() })
	return rig{t, m, u.(*Updater)}
}

func (r rig) tryStage(version, settings string, lines ...string) (updater.Handle, error) {
	r.Helper()
	a, err := r.u.Stage(r.Context(), updater.StageRequest{
		Component: "firmware/os", Version: version, MediaType: pack.MediaTypeRaw, Artifact: imageOf(r, lines...), Settings: []byte(settings),
	})
	return a.Handle, err
}

func (r rig) stage(version, settings string, lines ...string) updater.Handle {
	r.Helper()
	h, err := r.tryStage(version, settings, lines...)
	r.m.must(err)
	return h
}

func (r rig) to(h updater.Handle) error {
	return r.u.Switch(r.Context(), updater.SwitchRequest{Component: "firmware/os", Handle: h})
}

// asks switches to a version for which the device has to boot.
func (r rig) asks(h updater.Handle) {
	r.Helper()
	if err := r.to(h); !errors.Is(err, updater.ErrReboot) {
		r.Fatal(err)
	}
}

// TestTurnsBackBeforeTheBoot: an image that was written is not what the device boots
// after an update that has turned back, wherever the power was cut.
func TestTurnsBackBeforeTheBoot(t *testing.T) {
	r := newRig(t, false)
	one := r.stage("1.0.0", "", "1.0.0")
	r.asks(one)
	r.m.must(r.to(updater.Handle{})) // the first update turns back
	r.m.boot()
	if runs := r.m.runs(); runs != "factory" {
		t.Fatalf("it runs %s", runs)
	}
	r.asks(one)
	r.m.boot()
	r.m.must(r.to(one))
	two := r.stage("2.0.0", "", "2.0.0")
	r.asks(two)
	r.m.must(r.to(one))
	r.m.must(r.u.Unstage(t.Context(), updater.UnstageRequest{Component: "firmware/os", Version: "2.0.0", Handle: two}))
	r.m.boot()
	if runs := r.m.runs(); runs != "1.0.0" {
		t.Fatalf("it runs %s", runs)
	}
	r.m.must(r.u.Start(t.Context(), updater.StartRequest{Component: "firmware/os"}))
	file := imageOf(t, "by hand")
	r.m.must(r.m.base.Upload(t.Context(), "x", file))
	r.m.must(r.m.base.Do(t.Context(), mica.Flash, nil, "{upload}", "x"))
	r.m.boot()
	if err := r.u.Start(t.Context(), updater.StartRequest{Component: "firmware/os"}); !errors.Is(err, updater.ErrReboot) {
		t.Error(err)
	}
	r.m.boot()
	if runs := r.m.runs(); runs != "1.0.0" {
		t.Errorf("it runs %s", runs)
	}
}

// TestToldApart: a version that the Base OS calls as another one is refused, and what the
// device came with is never forgotten.
func TestToldApart(t *testing.T) {
	r := newRig(t, false)
	h := r.stage("1.0.0", `{"reports": "Base 7"}`, "Base 7")
	for version, settings := range map[string]string{"1.0.1": `{"reports": "Base 7"}`, "factory": "", "1.0.2": `{"reports": ""}`, "1.0.3": `{"report": "x"}`} {
		if _, err := r.tryStage(version, settings, version); err == nil {
			t.Errorf("%s is taken", version)
		}
	}
	r.m.must(r.u.Unstage(t.Context(), updater.UnstageRequest{Component: "firmware/os", Version: "1.0.0", Handle: h}))
	if n, _, err := r.u.look(t.Context()); err != nil || n.Factory != "factory" {
		t.Errorf("%+v, %v", n, err)
	}
}

// TestFirmware: an image that the device does not boot turns the update back, one that
// it boots goes back by the image before, and the device boots by itself where it may.
func TestFirmware(t *testing.T) {
	r := newRig(t, true)
	boots := func(h updater.Handle) {
		t.Helper()
		r.asks(h)
		r.m.booted() // the Base OS has done the rest
	}
	one := r.stage("1.0.0", `{"reports": "Adlershof 1"}`, "Adlershof 1")
	boots(one)
	r.m.must(r.to(one))
	if runs := r.m.runs(); runs != "Adlershof 1" {
		t.Fatalf("it runs %s", runs)
	}
	bad := r.stage("2.0.0", "", "2.0.0", "broken")
	boots(bad)
	if err := r.to(bad); err == nil || errors.Is(err, updater.ErrReboot) || !strings.Contains(err.Error(), "runs Adlershof 1") {
		t.Errorf("error %v", err)
	}
	r.m.must(r.to(one))
	good := r.stage("3.0.0", "", "3.0.0")
	boots(good)
	r.m.must(r.to(good))
	boots(one) // the update turns back
	r.m.must(r.to(one))
	if p, err := r.u.Probe(t.Context(), updater.ProbeRequest{Component: "firmware/os"}); err != nil || !p.Healthy || r.m.runs() != "Adlershof 1" {
		t.Error(p, err, r.m.runs())
	}
	if err := r.to(updater.Handle{}); err == nil || !strings.Contains(err.Error(), "which the device came with") {
		t.Errorf("error %v", err)
	}
}
