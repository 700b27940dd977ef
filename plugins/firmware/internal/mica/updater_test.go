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
	u, err := Open(filepath.Join(env.Run, "mica.json"))(env)
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

// TestFirmware: an image that the device does not boot turns the update back, one that
// it boots goes back by the image before, and the device boots by itself where it may.
func TestFirmware(t *testing.T) {
	t.Parallel()
	run, err := os.MkdirTemp("", "r")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	m := newMachine(t, run, true)
	o, err := open(updater.Environment{Data: t.TempDir(), Run: run, Logger: slog.New(slog.DiscardHandler)})
	m.must(err)
	u := o.(*Updater)
	defer u.Close()
	stage := func(version, settings string, lines ...string) updater.Handle {
		t.Helper()
		a, err := u.Stage(t.Context(), updater.StageRequest{
			Component: "firmware/os", Version: version, MediaType: pack.MediaTypeRaw, Artifact: imageOf(t, lines...), Settings: []byte(settings),
		})
		m.must(err)
		return a.Handle
	}
	to := func(h updater.Handle) error {
		return u.Switch(t.Context(), updater.SwitchRequest{Component: "firmware/os", Handle: h})
	}
	boots := func(h updater.Handle) {
		t.Helper()
		if err := to(h); !errors.Is(err, updater.ErrReboot) {
			t.Fatal(err)
		}
		m.booted() // the Base OS has done the rest
	}
	one := stage("1.0.0", `{"reports": "Adlershof 1"}`, "Adlershof 1")
	boots(one)
	m.must(to(one))
	if m.runs() != "Adlershof 1" {
		t.Fatalf("it runs %s", m.runs())
	}
	bad := stage("2.0.0", "", "2.0.0", "broken")
	boots(bad)
	if err := to(bad); err == nil || errors.Is(err, updater.ErrReboot) || !strings.Contains(err.Error(), "runs Adlershof 1") {
		t.Errorf("error %v", err)
	}
	m.must(to(one))
	good := stage("3.0.0", "", "3.0.0")
	boots(good)
	m.must(to(good))
	boots(one) // the update turns back
	m.must(to(one))
	if p, err := u.Probe(t.Context(), updater.ProbeRequest{Component: "firmware/os"}); err != nil || !p.Healthy || m.runs() != "Adlershof 1" {
		t.Error(p, err, m.runs())
	}
	if err := to(updater.Handle{}); err == nil || !strings.Contains(err.Error(), "which the device came with") {
		t.Errorf("error %v", err)
	}
}
