// Package oci runs containers by runc, or what has its command line, as the OCI
// runtime specification describes them (config.md), version 1.0.
package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/plugins/container/internal/cgroup"
	"github.com/tranquil-iot/tranquil/plugins/container/internal/container"
)

// Engine runs containers by runc. The zero value is ready.
type Engine struct{}

var _ container.Engine = Engine{}

// Check looks for the runtime, and refuses what it cannot do.
func (Engine) Check(b container.Box) error {
	if _, err := exec.LookPath("runc"); err != nil {
		return errors.New("runc is missing: install it (Debian: runc)")
	}
	if b.Grant.Network.Bridge != "" {
		return errors.New("it connects no container with a bridge: grant it the device's network, or use lxc")
	}
	if b.Base != 0 {
		return errors.New("it runs no unprivileged containers, since before runc 1.2 their state would have to change hands")
	}
	return nil
}

// states is where runc keeps what it knows of containers.
func states(b container.Box) string { return filepath.Join(b.Dir, "runc") }

// runc is one of its commands.
func runc(b container.Box, args ...string) []string {
	return append([]string{"runc", "--root", states(b)}, args...)
}

// Command writes the bundle. What a killed runtime knew of the container would
// keep it from being started again.
func (Engine) Command(b container.Box) (command, fresh []string, err error) {
	text, err := json.MarshalIndent(describe(b), "", "\t")
	if err != nil {
		return nil, nil, err
	}
	state := filepath.Join(states(b), b.Name)
	fresh = []string{filepath.Join(state, "state.json"), filepath.Join(state, "exec.fifo"), state}
	return runc(b, "run", "--bundle", b.Dir, b.Name), fresh, os.WriteFile(filepath.Join(b.Dir, "config.json"), text, 0o600)
}

// Up asks the runtime.
func (Engine) Up(ctx context.Context, b container.Box) (bool, error) {
	command := runc(b, "state", b.Name)
	output, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return false, nil // it knows no such container yet
	}
	if err != nil {
		return false, err
	}
	var state struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(output, &state); err != nil {
		return false, fmt.Errorf("cannot understand what runc says of the container: %w", err)
	}
	return state.Status == "running" || state.Status == "paused", nil
}

// Inside runs a command as the container's own program runs.
func (Engine) Inside(b container.Box, command []string) []string {
	return append(runc(b, "exec", b.Name), command...)
}

// The parts of the specification that are used.
type (
	spec struct {
		Version  string  `json:"ociVersion"`
		Process  process `json:"process"`
		Root     root    `json:"root"`
		Hostname string  `json:"hostname"`
		Mounts   []mount `json:"mounts"`
		Linux    linux   `json:"linux"`
	}
	process struct {
		User         user                `json:"user"`
		Args         []string            `json:"args"`
		Env          []string            `json:"env"`
		Cwd          string              `json:"cwd"`
		Capabilities map[string][]string `json:"capabilities"`
	}
	user struct {
		UID int `json:"uid"`
		GID int `json:"gid"`
	}
	root struct {
		Path string `json:"path"`
	}
	mount struct {
		Destination string   `json:"destination"`
		Type        string   `json:"type"`
		Source      string   `json:"source"`
		Options     []string `json:"options"`
	}
	linux struct {
		CgroupsPath   string      `json:"cgroupsPath"`
		Namespaces    []namespace `json:"namespaces"`
		Devices       []device    `json:"devices,omitempty"`
		Resources     resources   `json:"resources"`
		Seccomp       seccomp     `json:"seccomp"`
		MaskedPaths   []string    `json:"maskedPaths"`
		ReadonlyPaths []string    `json:"readonlyPaths"`
	}
	namespace struct {
		Type string `json:"type"`
	}
	resources struct {
		Devices []deviceRule `json:"devices"`
		Memory  *memory      `json:"memory,omitempty"`
		CPU     *cpu         `json:"cpu,omitempty"`
		PIDs    *pids        `json:"pids,omitempty"`
	}
	device struct {
		Path  string `json:"path"`
		Type  string `json:"type"`
		Major uint32 `json:"major"`
		Minor uint32 `json:"minor"`
	}
	deviceRule struct {
		Allow  bool    `json:"allow"`
		Type   string  `json:"type,omitempty"`
		Major  *uint32 `json:"major,omitempty"`
		Minor  *uint32 `json:"minor,omitempty"`
		Access string  `json:"access"`
	}
	memory struct {
		Limit int64 `json:"limit"`
	}
	cpu struct {
		Quota  int64 `json:"quota"`
		Period int64 `json:"period"`
	}
	pids struct {
		Limit int64 `json:"limit"`
	}
	seccomp struct {
		DefaultAction string    `json:"defaultAction"`
		Syscalls      []syscall `json:"syscalls"`
	}
	syscall struct {
		Names  []string `json:"names"`
		Action string   `json:"action"`
	}
)

// period is the time that the share of a processor is counted in, in µs.
const period = 100_000

func describe(b container.Box) spec {
	s := spec{
		Version:  "1.0.2",
		Process:  process{User: user{b.UID, b.GID}, Args: b.Command, Env: b.Env, Cwd: b.Cwd, Capabilities: map[string][]string{}},
		Root:     root{b.Root},
		Hostname: b.Name,
		Mounts:   mounts,
		Linux: linux{
			CgroupsPath: "/" + cgroup.Path(b.Name) + "/" + cgroup.Payload,
			Resources:   limit(b.Limits),
			Seccomp:     seccomp{"SCMP_ACT_ALLOW", []syscall{{container.DeniedCalls, "SCMP_ACT_ERRNO"}}},
			MaskedPaths: masked, ReadonlyPaths: readOnly,
		},
	}
	for _, kind := range []string{"pid", "ipc", "uts", "mount", "network"} {
		if kind != "network" || !b.Grant.Network.Host {
			s.Linux.Namespaces = append(s.Linux.Namespaces, namespace{kind})
		}
	}
	for _, d := range b.Devices {
		s.Linux.Devices = append(s.Linux.Devices, device{d.Path, d.Kind, d.Major, d.Minor})
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, deviceRule{true, d.Kind, &d.Major, &d.Minor, "rwm"})
	}
	for _, set := range []string{"bounding", "effective", "permitted"} {
		for _, name := range container.KeptCapabilities {
			s.Process.Capabilities[set] = append(s.Process.Capabilities[set], "CAP_"+name)
		}
	}
	return s
}

// limit denies all devices but those that every runtime gives a container
// (config-linux.md, default devices).
func limit(l container.Limits) resources {
	r := resources{Devices: []deviceRule{{Access: "rwm"}}}
	if l.Memory > 0 {
		r.Memory = &memory{l.Memory}
	}
	if l.CPU > 0 {
		r.CPU = &cpu{int64(math.Round(l.CPU * period)), period}
	}
	if l.PIDs > 0 {
		r.PIDs = &pids{l.PIDs}
	}
	return r
}

var mounts = []mount{
	{"/proc", "proc", "proc", []string{"nosuid", "noexec", "nodev"}},
	{"/dev", "tmpfs", "tmpfs", []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
	{"/dev/pts", "devpts", "devpts", []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
	{"/dev/shm", "tmpfs", "shm", []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
	{"/sys", "sysfs", "sysfs", []string{"nosuid", "noexec", "nodev", "ro"}},
}

// What /proc and /sys have of the whole device.
var (
	masked   = []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"}
	readOnly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)
