package fleet

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestEnrol: a device that runs becomes a device of its backend by an invitation, gets
// another key, moves to another backend and there goes on: its component never
// stops, and is updated with its state by the new one.
func TestEnrol(t *testing.T) {
	t.Parallel()
	var systems [2]*rig.System
	for i := range systems {
		var err error
		systems[i], err = rig.StartSecure(t.Context(), built, t.TempDir())
		attend(t, systems[i], err)
	}
	old, other := systems[0], systems[1]
	other.Agent.Stop() // its device is the one that comes
	put(t, old, "1.0.0")
	put(t, other, "2.0.0")
	update(t, old, "1.0.0")
	running, report := check(t, old)

	psk := func() string {
		found, _ := filepath.Glob(filepath.Join(old.Dir, "enrolment", "psk-*"))
		if len(found) != 1 {
			t.Fatalf("the keys of the device are %v", found)
		}
		text, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first := invite(t, old)
	enrol(t, old, first)
	before := psk()

	// The same invitation is good for this device again, and for no other.
	enrol(t, old, first)
	stranger := filepath.Join(t.TempDir(), "agent.toml")
	if err := os.WriteFile(stranger, []byte("data = \"/nowhere\"\nrun = \"/nowhere\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), old.Program("tranquil-agent"), "enrol", first, "--config", stranger).CombinedOutput()
	if err == nil || !strings.Contains(string(said), "was used by another device") {
		t.Errorf("a stranger is told: %s", said)
	}

	// Another key.
	newKeys(t, old)
	enrol(t, old, invite(t, old))
	if psk() == before {
		t.Error("the device has the key that it had")
	}

	// Another backend.
	enrol(t, old, invite(t, other))
	r, err := other.Await(t.Context(), "the device says what it has", rig.UpdateTime, func(r rig.Reported) bool {
		return r.State == "online" && r.Components[rig.SensorAdapter].Version == "1.0.0"
	})
	if err != nil {
		t.Fatal(err, r)
	}
	if now := old.Components(rig.SensorAdapter); len(now) != 1 || now[0].PID != running.PID {
		t.Errorf("the component was process %d, now there are %+v", running.PID, now)
	}
	if _, err := other.Update(t.Context(), "2.0.0"); err != nil {
		t.Fatal(err)
	}
	if _, after := check(t, old); report.Digest(report.Count()) != after.Digest(report.Count()) {
		t.Errorf("readings were lost or changed: %v became %v", report, after)
	}
	inspect(t, old)
}

// inspect asks the device what an operator asks there.
func inspect(t *testing.T, s *rig.System) {
	t.Helper()
	for command, want := range map[string]string{
		"status":                 "registered of coaps://",
		"history":                "to 2.0.0: updated",
		"history sensor-adapter": "to 1.0.0: updated",
		"logs":                   "agent starts",
		"doctor":                 "registration",
		"metrics":                `tranquil_updates_total{component="application/sensor-adapter",result="updated"} 2`,
	} {
		if out, err := s.AgentCLI(t.Context(), strings.Fields(command)...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v, %s\nwant %s", command, err, out, want)
		}
	}
}

// operator runs the command line as somebody who is logged in.
func operator(t *testing.T, s *rig.System, args ...string) string {
	t.Helper()
	home := filepath.Join(s.Dir, "operator")
	address, password := s.Web()
	run := func(in string, args ...string) string {
		command := exec.CommandContext(t.Context(), s.Program("tranquil"), args...)
		command.Env = append(os.Environ(), "XDG_CONFIG_HOME="+home)
		command.Stdin = strings.NewReader(in)
		var said bytes.Buffer
		command.Stderr = &said
		out, err := command.Output()
		if err != nil {
			t.Fatalf("tranquil %v: %v\n%s", args, err, &said)
		}
		return strings.TrimSpace(string(out))
	}
	if _, err := os.Stat(home); err != nil {
		run(password+"\n", "login", address, "--ca", filepath.Join(s.Dir, "backend", "ca", "ca.pem"))
	}
	return run("", args...)
}

// invite makes an invitation for the device.
func invite(t *testing.T, s *rig.System) string {
	t.Helper()
	command := operator(t, s, "device", "invite", s.Device)
	return command[strings.LastIndexByte(command, ' ')+1:]
}

// newKeys gives the device other keys, by the API.
func newKeys(t *testing.T, s *rig.System) {
	t.Helper()
	var login struct{ URL, Token, CA string }
	text, err := os.ReadFile(filepath.Join(s.Dir, "operator", "tranquil", "login.json"))
	if err == nil {
		err = json.Unmarshal(text, &login)
	}
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(login.CA))
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, login.URL+"/api/v1/devices/"+s.Device+"/keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+login.Token)
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
}

// enrol says an invitation to the device of a system.
func enrol(t *testing.T, s *rig.System, invitation string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.UpdateTime)
	defer cancel()
	if out, err := s.AgentCLI(ctx, "enrol", invitation); err != nil || !strings.Contains(out, "It is registered") {
		t.Fatalf("enrol: %v\n%s", err, out)
	}
}
