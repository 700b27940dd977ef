package mica

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/plugins/internal/mica"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
	"github.com/tranquil-iot/tranquil/sdk/updater/updatertest"
)

// The test binary is also the updater that the kit launches.
func TestMain(m *testing.M) {
	if updater.Launched() {
		updater.Main(kind, mica.Maker(New).Open(os.Getenv("MICA")))
	}
	goleak.VerifyTestMain(m)
}

// stand starts the stand-in for a Base OS and returns its directory and the
// updater's configuration.
func stand(t *testing.T) (data, config string) {
	t.Helper()
	if _, err := exec.LookPath("lxc-start"); err != nil || os.Geteuid() != 0 {
		t.Skip("NOT TESTED: it needs root and LXC (Debian: lxc)")
	}
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("NOT TESTED: it needs busybox (Debian: busybox-static)")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "mica-base")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "github.com/tranquil-iot/tranquil/examples/mica-base")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data = filepath.Join(dir, "data")
	base := exec.Command(program, "-data", data, "-password", "sesame")
	base.Stderr = t.Output()
	if err := base.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { base.Process.Signal(syscall.SIGTERM); base.Wait() })
	endpoint := filepath.Join(data, "endpoint.json")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(endpoint); err == nil {
			return data, configure(t, dir, text)
		}
		if time.Now().After(deadline) {
			t.Fatal("the stand-in does not come up")
		}
	}
}

func configure(t *testing.T, dir string, endpoint []byte) string {
	t.Helper()
	f := map[string]string{"user": "admin", "passwordFile": filepath.Join(dir, "password")}
	if err := json.Unmarshal(endpoint, &f); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "mica.json")
	for name, content := range map[string][]byte{f["passwordFile"]: []byte("sesame\n"), config: text} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config
}

// imageOf is a container's root file system, with a program that goes on until it
// is asked to end, in a package's layer.
func imageOf(t testing.TB, version string) string {
	t.Helper()
	path, _ := exec.LookPath("busybox")
	busybox, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root := archive(t, map[string]string{
		"bin/busybox": string(busybox), "about": version,
		"sbin/init": "#!/bin/busybox sh\ntrap 'exit 0' PWR TERM\nwhile :; do busybox sleep 1000 & wait $!; done\n",
	})
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.NoCompression) // for the race detector it is slow
	w.Write([]byte(archive(t, map[string]string{"image.tar": root})))
	w.Close()
	file := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func archive(t testing.TB, files map[string]string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(content))
	}
	w.Close()
	return out.String()
}

// TestConformance runs the kit against real containers, behind the stand-in.
func TestConformance(t *testing.T) {
	data, config := stand(t)
	artifacts := map[string]string{"1.0.0": imageOf(t, "1.0.0"), "2.0.0": imageOf(t, "2.0.0")}
	updatertest.Run(t, updatertest.Suite{
		Type: kind,
		Open: mica.Maker(New).Open(config),
		Env:  []string{"MICA=" + config},
		Artifact: func(_ testing.TB, version string) updatertest.Artifact {
			return updatertest.Artifact{Path: artifacts[version], MediaType: pack.MediaTypeArtifact, Settings: []byte(`{"state":"/var/lib/app"}`)}
		},
		Running: func(_ testing.TB, _ updater.Environment, component string) string {
			return running(data, strings.TrimPrefix(component, kind+"/"))
		},
		Ready: time.Minute,
	})
}

// TestStateOfNobody: a container that does not give its state ends all the same. No
// other version starts without it, until that was said.
func TestStateOfNobody(t *testing.T) {
	_, config := stand(t)
	text, err := os.ReadFile(config)
	must(t, err)
	must(t, os.WriteFile(config, bytes.Replace(text, []byte("{"), []byte(`{"methods":{"export":{"method":"no_such_method"}},`), 1), 0o600))
	env := updater.Environment{Data: t.TempDir(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	u, err := mica.Maker(New).Open(config)(env)
	must(t, err)
	s := u.(*Updater)
	defer s.Close()
	const name = kind + "/a"
	handles := map[string]updater.Handle{}
	for _, version := range []string{"1.0.0", "2.0.0"} {
		a, err := s.Stage(t.Context(), updater.StageRequest{
			Component: name, Version: version, Artifact: imageOf(t, version), MediaType: pack.MediaTypeArtifact, Settings: []byte(`{"state":"/var/lib/app"}`),
		})
		must(t, err)
		handles[version] = a.Handle
	}
	to := func(version string) {
		t.Helper()
		must(t, s.Switch(t.Context(), updater.SwitchRequest{Component: name, Handle: handles[version]}))
	}
	to("1.0.0")
	must(t, s.Start(t.Context(), updater.StartRequest{Component: name}))
	_, err = s.Stop(t.Context(), updater.StopRequest{Component: name})
	must(t, err)
	if err := s.Save(t.Context(), updater.SaveRequest{Component: name, Dir: t.TempDir()}); err == nil {
		t.Error("nothing is saved, and nobody hears of it")
	}
	to("2.0.0")
	if err := s.Start(t.Context(), updater.StartRequest{Component: name}); err == nil {
		t.Error("it starts without the state")
	}
	to("1.0.0")
	must(t, s.Start(t.Context(), updater.StartRequest{Component: name})) // on its own
	_, err = s.Stop(t.Context(), updater.StopRequest{Component: name})
	must(t, err)
	to("2.0.0")
	must(t, s.Apply(t.Context(), updater.ApplyRequest{Component: name, Dir: t.TempDir()}))
	must(t, s.Start(t.Context(), updater.StartRequest{Component: name}))
	_, err = s.Stop(t.Context(), updater.StopRequest{Component: name})
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// running finds the processes whose root is that of a container.
func running(data, name string) string {
	processes, _ := filepath.Glob("/proc/[0-9]*") // no further: that would list each of these directories
	own, _ := filepath.Glob(filepath.Join(data, "containers", name+".*", "rootfs"))
	for _, process := range processes {
		info, err := os.Stat(process + "/root")
		if err != nil {
			continue
		}
		for _, dir := range own {
			if other, err := os.Stat(dir); err == nil && os.SameFile(info, other) {
				about, _ := os.ReadFile(filepath.Join(dir, "about"))
				return string(about)
			}
		}
	}
	return ""
}

func TestSettings(t *testing.T) {
	for settings, want := range map[string]string{
		`{"state":"x"}`: "no directory", `{"state":"/"}`: "no directory", `{"state":"/a/../b"}`: "no directory",
		`{"health":"x"}`: "no path", `{"command":["x"]}`: "unknown field", `{"grace":"-1s"}`: "negative",
	} {
		if _, err := parseSettings([]byte(settings)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", settings, err)
		}
	}
	if s, err := parseSettings(nil); err != nil || s.State != "" {
		t.Error(s, err)
	}
}
