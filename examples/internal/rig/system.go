package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// SensorAdapter is the component of the examples.
const SensorAdapter = "application/sensor-adapter"

// A System is one backend with one device.
type System struct {
	Dir    string // everything of the system
	Device string // id
	Hub    *iothub.Client
	Env    []string // what the command line needs: TRANQUIL_HUB …

	Via string // host:port that the agent takes for the bridge's; "" the bridge's own

	Backend, Agent *Process

	built     Built
	agent     []Edit   // of its configuration
	within    []string // command that runs the agent: a device that can boot; none: this machine
	trusting  bool     // the agent wants signatures
	deltas    int      // as in the backend's configuration; they take the processor for seconds
	run       string   // directory of the agent's sockets, whose paths must be short
	endpoints endpoints
	service   string // connection string for applications

	certificates string // directory, if there are some
	others       []*Process
	guard        *guard
}

// endpoints is the backend's endpoints.json.
type endpoints struct {
	Hub    struct{ MQTT, HTTP string }
	Files  struct{ CoAP, HTTP string }
	Bridge struct{ LwM2M, TCP string }
	Web    struct{ HTTPS, CA string }
}

// credentials is the backend's credentials.json.
type credentials struct{ Owner, Service, Publisher string }

const backendConfig = `[hub]
mqtt = %q
http = %q

[files]
http = %q
coap = %q
deltas = %d

[web]
https = %q

[bridge]
lwm2m = %q
`

// configure has every listener take a free port; after a restart the one it
// had, since the device knows no other.
func (s *System) configure() string {
	e := s.endpoints
	text := fmt.Sprintf(backendConfig, e.Hub.MQTT, e.Hub.HTTP, e.Files.HTTP, e.Files.CoAP, s.deltas, e.Web.HTTPS, e.Bridge.LwM2M)
	if e.Bridge.TCP != "" {
		text += fmt.Sprintf("tcp = %q\n", e.Bridge.TCP)
	}
	if s.tls() {
		text += s.proof("bridge")
	}
	return strings.ReplaceAll(text, `""`, `"127.0.0.1:0"`)
}

// secureScheme begins the address of a bridge that speaks DTLS.
const secureScheme = "coaps://"

// startTime is how long a program may take to come up, on a slow machine.
const startTime = 60 * time.Second

// Start starts the backend, registers a device, and starts its agent, with
// changes to its configuration. Close the system also if Start fails.
func Start(ctx context.Context, built Built, dir string, agent ...Edit) (*System, error) {
	return begin(ctx, &System{}, built, dir, agent)
}

// StartSecure is [Start] with DTLS between bridge and agent, which proves itself
// with the key that the hub has made for the device, and for packages as well.
func StartSecure(ctx context.Context, built Built, dir string, agent ...Edit) (*System, error) {
	s := &System{}
	s.endpoints.Bridge.LwM2M, s.endpoints.Files.CoAP = secureScheme+"127.0.0.1:0", secureScheme+"127.0.0.1:0"
	return begin(ctx, s, built, dir, agent)
}

// StartDeltas is [Start] with a file server that makes deltas.
func StartDeltas(ctx context.Context, built Built, dir string, agent ...Edit) (*System, error) {
	return begin(ctx, &System{deltas: 1}, built, dir, agent)
}

// StartTCP is [Start] with CoAP over TCP between bridge and agent.
func StartTCP(ctx context.Context, built Built, dir string, agent ...Edit) (*System, error) {
	s := &System{}
	s.endpoints.Bridge.TCP = "coap+tcp://127.0.0.1:0"
	return begin(ctx, s, built, dir, agent)
}

// StartOn is [Start] with the agent on a device: a command that runs the one that follows
// it, and ends with the device.
func StartOn(ctx context.Context, device []string, built Built, dir string, agent ...Edit) (*System, error) {
	return begin(ctx, &System{within: device}, built, dir, agent)
}

// deviceID is the device of every system.
const deviceID = "device-1"

func begin(ctx context.Context, s *System, built Built, dir string, agent []Edit) (*System, error) {
	s.Device, s.built, s.agent = deviceID, built, agent
	return s, s.settle(ctx, dir, s.warm, s.StartBackend, s.found, s.create, s.StartAgent, s.online)
}

// settle takes a directory, in which the steps that follow find the programs.
func (s *System) settle(ctx context.Context, dir string, steps ...func(context.Context) error) error {
	run, err := os.MkdirTemp("", "tq-")
	if err != nil {
		return err
	}
	s.Dir, s.run = dir, run
	if s.guard, err = watch(dir, run); err != nil {
		return fmt.Errorf("cannot start a guard: %w", err)
	}
	for _, step := range append([]func(context.Context) error{s.install}, steps...) {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// install gives the system its own links to the programs, by which its
// processes are told from those of other systems.
func (s *System) install(context.Context) error {
	if err := os.MkdirAll(s.Program(""), 0o700); err != nil {
		return err
	}
	for _, p := range native {
		if err := link(s.built.Program(p.name), s.Program(p.name)); err != nil {
			return err
		}
	}
	return nil
}

// compiled is where transforms lie that a system before this one has compiled, in
// the directory of the programs and in that of the agent.
const compiled = "compiled"

// warm gives the agent what is compiled already: each would take a second of
// CPU time for the same.
func (s *System) warm(context.Context) error {
	from := os.DirFS(s.built.Program(compiled))
	if _, err := fs.Stat(from, "."); err != nil {
		return nil // this is the first
	}
	agent := filepath.Join(s.Dir, "agent")
	if err := os.MkdirAll(agent, 0o700); err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(agent, compiled), from)
}

// leaveWarm keeps what the agent has compiled for the systems after this one. It
// is a cache with checksums: whatever is wrong costs time only.
func (s *System) leaveWarm() {
	into := s.built.Program(compiled)
	if _, err := os.Stat(into); err == nil {
		return
	}
	half := into + "-" + filepath.Base(s.run)
	defer os.RemoveAll(half)
	if os.CopyFS(half, os.DirFS(filepath.Join(s.Dir, "agent", compiled))) == nil {
		_ = os.Rename(half, into) // another one was faster
	}
}

// link falls back to a copy between file systems.
func link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// Program returns the path of a program of this system.
func (s *System) Program(name string) string { return filepath.Join(s.Dir, "bin", name) }

// Move has the bridge listen at another address, host:port, when the backend is started
// the next time. The agent is not told.
func (s *System) Move(bridge string) {
	s.Via = s.Bridge()
	s.endpoints.Bridge.LwM2M = strings.Replace(s.endpoints.Bridge.LwM2M, s.Via, bridge, 1)
}

// StartBackend starts the backend, anew or again, and waits until it listens.
func (s *System) StartBackend(ctx context.Context) error {
	data := filepath.Join(s.Dir, "backend")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	config := filepath.Join(s.Dir, "backend.toml")
	if err := os.WriteFile(config, []byte(s.configure()), 0o600); err != nil {
		return err
	}
	os.Remove(filepath.Join(data, "endpoints.json"))
	var err error
	s.Backend, err = start(s.Dir, "backend", s.Program("tranquil-backend"), nil, "all", "--data", data, "--config", config)
	if err != nil {
		return err
	}
	if err := await(ctx, s.Backend, filepath.Join(data, "endpoints.json"), &s.endpoints); err != nil {
		return err
	}
	var c credentials
	if err := await(ctx, s.Backend, filepath.Join(data, "credentials.json"), &c); err != nil {
		return err
	}
	connection, err := iothub.ParseConnectionString(c.Service)
	if err != nil {
		return err
	}
	s.Hub, s.service = iothub.NewClient(connection), c.Service
	s.Env = []string{
		"TRANQUIL_HUB=" + c.Owner, "TRANQUIL_FILES=http://" + s.endpoints.Files.HTTP, "TRANQUIL_TOKEN=" + c.Publisher,
	}
	return nil
}

// Web is where the operator's pages are, and the password of their first
// administrator.
func (s *System) Web() (address, password string) {
	b, err := os.ReadFile(filepath.Join(s.Dir, "backend", "admin.password"))
	if err != nil {
		return "", err.Error()
	}
	return "https://" + s.endpoints.Web.HTTPS, strings.TrimSpace(string(b))
}

// await reads a JSON file that a process is about to write.
func await(ctx context.Context, p *Process, path string, into any) error {
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); {
		b, err := os.ReadFile(path)
		if err == nil && json.Unmarshal(b, into) == nil {
			return nil
		}
		if p.Ended() {
			return fmt.Errorf("%s has ended:\n%s", p.Name, Tail(p.Log, 20))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s did not write %s:\n%s", p.Name, path, Tail(p.Log, 20))
}

func (s *System) create(ctx context.Context) error {
	_, err := s.CLI(ctx, "device", "create", s.Device, "--psk", s.psk())
	return err
}

// psk is the file with the device's key.
func (s *System) psk() string { return filepath.Join(s.Dir, "psk") }

// CLI runs the command line tool and returns what it prints.
func (s *System) CLI(ctx context.Context, args ...string) (string, error) {
	return cli(ctx, s.Program("tranquil"), s.Env, args...)
}

func cli(ctx context.Context, program string, env []string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, program, args...)
	command.Env = append(os.Environ(), env...)
	out, err := command.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), fmt.Errorf("tranquil %s %s: %w: %s", args[0], args[1], err, failed.Stderr)
	}
	return string(out), err
}

// StartApplication starts a back-end application of the examples. It may read
// twins and events, and no more.
func (s *System) StartApplication(name string, args ...string) (*Process, error) {
	p, err := start(s.Dir, name, s.Program(name), []string{"TRANQUIL_HUB=" + s.service}, args...)
	if err == nil {
		s.others = append(s.others, p)
	}
	return p, err
}

// Close ends everything of the system, in order. Its directory stays.
func (s *System) Close() {
	for _, p := range append(s.others, s.Agent) {
		if p != nil {
			p.Stop()
		}
	}
	if s.Backend != nil {
		s.Backend.Stop()
	}
	s.leaveWarm()
	if s.guard != nil {
		s.guard.dismiss()
	}
}
