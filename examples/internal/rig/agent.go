package rig

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const agentConfig = `endpoint = %q
data = %q
run = %q
components = [%q]

[lwm2m]
%s
lifetime = "60s"

[files]
url = "%s" # or "http://%s"

[[updater]]
type = "application"
path = %q
sha256 = %q
`

var filesURL = regexp.MustCompile(`url = "coaps?:.*" # or (".*")`)

// OverHTTP has the agent fetch packages over HTTP, in larger blocks than over
// CoAP.
func OverHTTP(config string) string { return filesURL.ReplaceAllString(config, "url = $1") }

// StartAgent starts the device's agent, anew or again.
func (s *System) StartAgent(ctx context.Context) error {
	sum, err := checksum(s.Program("tranquil-updater-application"))
	if err != nil {
		return err
	}
	return s.StartAgentPinning(ctx, sum)
}

// StartAgentPinning starts the agent with a checksum of the updater in its
// configuration, right or wrong, in hexadecimal.
func (s *System) StartAgentPinning(_ context.Context, sum string) error {
	config := filepath.Join(s.Dir, "agent.toml")
	packages := s.endpoints.Files.CoAP
	if !strings.HasPrefix(packages, secureScheme) {
		packages = "coap://" + packages
	}
	text := fmt.Sprintf(agentConfig, s.Device, filepath.Join(s.Dir, "agent"), s.run, SensorAdapter,
		s.server(), packages, s.endpoints.Files.HTTP, s.Program("tranquil-updater-application"), sum)
	for _, edit := range s.agent {
		text = edit(text)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	command := append(slices.Clone(s.within), s.Program("tranquil-agent"), "launch", "--config", config)
	var err error
	s.Agent, err = start(s.Dir, "agent", command[0], nil, command[1:]...)
	return err
}

// server is what the agent's configuration says of the bridge.
func (s *System) server() string {
	switch at := s.endpoints.Bridge.TCP; {
	case s.tls():
		return fmt.Sprintf("server = %q\n%s", at, s.proof(s.Device))
	case at != "":
		return fmt.Sprintf("server = %q", at)
	}
	host, secure := strings.CutPrefix(s.endpoints.Bridge.LwM2M, secureScheme)
	if host = cmp.Or(s.Via, host); secure {
		return fmt.Sprintf("server = %q\npsk = %q", secureScheme+host, s.psk())
	}
	return fmt.Sprintf("server = %q", "coap://"+host)
}

// Control is the agent's socket for operators at the device.
func (s *System) Control() string { return filepath.Join(s.run, "control.sock") }

// Bridge is where the bridge listens, host:port.
func (s *System) Bridge() string { return strings.TrimPrefix(s.endpoints.Bridge.LwM2M, secureScheme) }

// Files is the file server's address over HTTP, a URL.
func (s *System) Files() string { return "http://" + s.endpoints.Files.HTTP }

func checksum(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot pin the updater: %w", err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b)), nil
}

// online waits until the device says that it is.
func (s *System) online(ctx context.Context) error {
	_, err := s.Await(ctx, "the device is online", startTime, func(r Reported) bool { return r.State == "online" })
	return err
}

// AgentCLI runs a command of the agent's program on the device and returns what
// it prints.
func (s *System) AgentCLI(ctx context.Context, args ...string) (string, error) {
	return cli(ctx, s.Program("tranquil-agent"), nil, append(args, "--config", filepath.Join(s.Dir, "agent.toml"))...)
}
